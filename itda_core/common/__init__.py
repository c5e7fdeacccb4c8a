"""Errors, settings, shared types, files, hashing and bootstrap.

Imports no other package of this project, and no torch.
"""
