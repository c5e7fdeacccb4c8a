"""Panels of the page of all atoms."""
