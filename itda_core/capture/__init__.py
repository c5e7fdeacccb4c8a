"""Windows to activations: local, remote (NDIF), stored, replayed."""
