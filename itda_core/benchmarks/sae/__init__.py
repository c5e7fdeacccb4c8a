"""Package of `itda bench sae`."""
