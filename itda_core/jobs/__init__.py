"""A job's state, control and locks; no torch."""
