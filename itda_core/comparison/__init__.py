"""Analyses of two dictionaries: overlap, matching, transplant, layers."""
