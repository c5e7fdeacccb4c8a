"""Fetch, locate, load and describe models."""
