"""Panels of the build page."""
