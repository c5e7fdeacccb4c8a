"""`itda bench layers`."""
