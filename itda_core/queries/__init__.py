"""Read-only SQL for pages and jobs; no torch."""
