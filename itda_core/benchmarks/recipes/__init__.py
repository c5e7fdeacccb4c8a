"""Package of `itda bench recipes`."""
