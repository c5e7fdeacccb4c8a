"""Documents to stored corpus to windows and token table; no torch."""
