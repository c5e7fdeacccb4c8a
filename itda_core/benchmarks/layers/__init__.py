"""Package of `itda bench layers`."""
