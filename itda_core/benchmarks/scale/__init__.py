"""Package of `itda bench scale`."""
