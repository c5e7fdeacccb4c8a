"""Panels of the quality page."""
