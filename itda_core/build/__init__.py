"""Build pipeline (capture, dictionary, encode, index), cost estimate and atom map."""
