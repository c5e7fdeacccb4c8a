"""Folders, manifests and staging of a library; no torch."""
