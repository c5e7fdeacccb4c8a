"""Panels of the decompose page."""
