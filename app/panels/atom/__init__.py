"""Panels of the atom page."""
