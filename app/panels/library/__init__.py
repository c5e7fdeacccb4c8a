"""Panels of the library page."""
