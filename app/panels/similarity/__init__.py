"""Panels of the similarity page."""
