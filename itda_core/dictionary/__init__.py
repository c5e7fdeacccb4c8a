"""Greedy build (Algorithm 1), atom selection, encoding, decoding, storage."""
