"""Analyses of one dictionary: metrics, SAEs, probing."""
