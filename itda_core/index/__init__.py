"""Schema, checks and writer of index.duckdb."""
