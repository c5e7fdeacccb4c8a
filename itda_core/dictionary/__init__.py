"""The greedy build (Algorithm 1), selection strategies, encode, decode, save."""
