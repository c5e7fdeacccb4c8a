"""The tables of a dictionary's `index.duckdb`, written down once: what is written, and what a file has to hold."""

CONTEXT_RADIUS = 16
"""Tokens of context on each side."""
HISTOGRAM_BINS = 50
"""Bins of an atom's histogram."""
UNKNOWN_SOURCE = "(source not known)"
"""Label of an atom of which no text is known, as of a dictionary that was imported without its corpus."""

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
"""Tables → their columns → the SQL type of each."""
MAY_MISS = {"tokens": {"error"}, "atoms": {"admission_error", "mean", "maximum", "minimum", "strongest"}}
"""Tables → the columns in which a value may be missing; in all others none may."""


def declared(table: str) -> str:
    """The columns of a table with their types, as SQL declares them."""
    return ", ".join(f'"{name}" {kind}' for name, kind in TABLES[table].items())


def listed(table: str) -> str:
    """The columns of a table, as SQL lists them."""
    return ", ".join(f'"{name}"' for name in TABLES[table])
