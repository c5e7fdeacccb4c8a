"""Panels of the compare page."""
