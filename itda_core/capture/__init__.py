"""Capture activations of windows: local, remote (NDIF), stored, replayed."""
