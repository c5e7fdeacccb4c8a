"""Jobs over two dictionaries: overlap, matching, transplant, layers."""
