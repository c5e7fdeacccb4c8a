"""Matching pursuit backends: arrays in, arrays out."""
