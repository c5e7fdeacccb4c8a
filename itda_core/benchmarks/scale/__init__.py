"""`itda bench scale`."""
