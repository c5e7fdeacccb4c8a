"""`itda bench pursuit`."""
