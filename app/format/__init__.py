"""Formatting of text, numbers, names and CSV for pages."""
