"""Panels, the blocks of a page; one folder per page."""
