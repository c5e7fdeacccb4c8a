"""Names of a library's folders and files."""

CORPORA, DICTIONARIES, JOBS, ACTIVATIONS = "corpora", "dictionaries", "jobs", "activations"
COMPARISONS, SAES, UPLOADS = "comparisons", "saes", "uploads"

MANIFEST_FILE = "manifest.json"
ATOMS_FILE = "atoms.safetensors"
INDEX_FILE = "index.duckdb"
MAP_FILE = "map.parquet"
