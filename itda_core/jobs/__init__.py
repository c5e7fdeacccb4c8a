"""State, control and locks of jobs; no torch."""
