"""`itda bench capture`."""
