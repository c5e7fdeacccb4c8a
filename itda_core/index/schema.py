"""Tables of a dictionary's `index.duckdb`, as they are written and validated."""

CONTEXT_RADIUS = 16
"""Tokens of context on each side."""
HISTOGRAM_BINS = 50
"""Bins of an atom's histogram."""
UNKNOWN_SOURCE = "(source not known)"
"""Label of an atom without known text, as in a dictionary that was imported without its corpus."""

TABLES = {
    "documents": {"document": "INTEGER", "name": "VARCHAR", "text": "VARCHAR", "held_out": "BOOLEAN"},
    "tokens": {
        "token": "INTEGER",
        "document": "INTEGER",
        "position": "INTEGER",
        "token_id": "INTEGER",
        "start": "INTEGER",
        "stop": "INTEGER",
        "text": "VARCHAR",
        "error": "FLOAT",
    },
    "atoms": {
        "atom": "INTEGER",
        "token": "INTEGER",
        "document": "INTEGER",
        "position": "INTEGER",
        "token_id": "INTEGER",
        "label": "VARCHAR",
        "before": "VARCHAR",
        "after": "VARCHAR",
        "admission_error": "DOUBLE",
        "count": "BIGINT",
        "density": "DOUBLE",
        "mean": "DOUBLE",
        "maximum": "FLOAT",
        "minimum": "FLOAT",
        "strongest": "FLOAT",
    },
    "activations": {"atom": "INTEGER", "coefficient": "FLOAT", "token": "INTEGER"},
    "codes": {"token": "INTEGER", "atom": "INTEGER", "coefficient": "FLOAT"},
    "histograms": {"atom": "INTEGER", "count": "INTEGER", "bin": "INTEGER"},
    "examples": {
        "atom": "INTEGER",
        "rank": "BIGINT",
        "token": "INTEGER",
        "coefficient": "FLOAT",
        "context": "VARCHAR",
    },
    "neighbours": {"atom": "INTEGER", "rank": "INTEGER", "other": "INTEGER", "cosine": "FLOAT"},
    "cofiring": {"atom": "INTEGER", "rank": "INTEGER", "other": "INTEGER", "together": "INTEGER", "jaccard": "FLOAT"},
}
"""Table → column → SQL type."""
MAY_MISS = {"tokens": {"error"}, "atoms": {"admission_error", "mean", "maximum", "minimum", "strongest"}}
"""Table → columns that may contain NULL; no others may."""


def declared(table: str) -> str:
    """Return the columns of a table with their types, as SQL declares them."""
    return ", ".join(f'"{name}" {kind}' for name, kind in TABLES[table].items())


def listed(table: str) -> str:
    """Return the columns of a table, as SQL lists them."""
    return ", ".join(f'"{name}"' for name in TABLES[table])
