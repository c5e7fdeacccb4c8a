"""How good a dictionary is: measured against what it replaces, beside random atoms and sparse autoencoders."""
