"""Jobs over one dictionary: metrics, SAEs, probing."""
