"""Blocks of a page, a folder per page."""
