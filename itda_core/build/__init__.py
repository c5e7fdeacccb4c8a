"""The pipeline: capture, dictionary, encode, index; its estimate; the map."""
