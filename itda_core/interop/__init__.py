"""Dictionaries to and from other tools: the published format, Parquet, safetensors, SAELens, SAEBench, the Hub."""
