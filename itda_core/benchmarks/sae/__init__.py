"""`itda bench sae`."""
