"""Package of `itda bench pursuit`."""
