"""Sparse probing of atoms, SAE latents and dimensions for token properties."""
