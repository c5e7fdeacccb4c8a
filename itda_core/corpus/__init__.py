"""Ingest documents, store corpora, cut windows, tabulate tokens; no torch."""
