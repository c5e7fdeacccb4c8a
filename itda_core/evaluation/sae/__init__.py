"""Train, import, keep and evaluate sparse autoencoders."""
