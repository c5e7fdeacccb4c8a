"""Errors, settings, shared types, files, hashing and bootstrap; imports nothing of ours, and no torch."""
