"""One file format each: manifest, published, Parquet, safetensors."""
