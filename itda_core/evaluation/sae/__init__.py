"""Train, import, store and evaluate sparse autoencoders."""
