"""Stored reports of jobs: dataclasses, parsers, readers and writers; no torch."""
