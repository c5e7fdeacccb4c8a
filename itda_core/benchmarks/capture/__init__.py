"""Package of `itda bench capture`."""
