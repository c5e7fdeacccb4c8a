"""Schema, validation and writer of index.duckdb."""
