"""Common interface of sparse coders: dictionaries and autoencoders.

A sparse coder represents an activation as a sparse sum of vectors.
"""

from typing import Protocol

import torch

from itda_core.common.types import Codes
from itda_core.dictionary.dictionary import Dictionary


class Coder(Protocol):
    """Protocol of a sparse encoder and decoder of activations."""

    @property
    def latents(self) -> int:
        """Number of vectors that a code can use."""
        ...

    def encode(self, x: torch.Tensor) -> Codes:
        """Return the sparse codes of x [n, d_model]."""
        ...

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Return the reconstructions [n, d_model] of n activations from their codes."""
        ...


class DictionaryCoder:
    """Dictionary with its own number of pursuit steps and pursuit method."""

    def __init__(self, dictionary: Dictionary, l0: int, method: str | None = None) -> None:
        """Wrap a dictionary; the default method is the one that it was built with."""
        self._dictionary, self._l0, self._method = dictionary, l0, method

    @property
    def latents(self) -> int:
        """Number of atoms."""
        return len(self._dictionary)

    def encode(self, x: torch.Tensor) -> Codes:
        """Return the sparse codes of x [n, d_model].

        Raises ValueError as `Dictionary.encode` does.
        """
        return self._dictionary.encode(x, self._l0, self._method)

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Return the reconstructions [n, d_model] of n activations from their codes."""
        return self._dictionary.decode(codes, n)
