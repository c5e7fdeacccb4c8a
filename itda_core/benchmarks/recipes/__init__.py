"""`itda bench recipes`."""
