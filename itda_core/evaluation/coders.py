"""One interface for everything that writes an activation as a sparse sum of vectors: dictionaries and autoencoders."""

from typing import Protocol

import torch

from itda_core.common.types import Codes
from itda_core.dictionary.dictionary import Dictionary


class Coder(Protocol):
    """Encodes activations as sparse codes, and decodes them again."""

    @property
    def latents(self) -> int:
        """How many vectors a code can use."""
        ...

    def encode(self, x: torch.Tensor) -> Codes:
        """Sparse codes of x [n, d_model]."""
        ...

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Reconstructions [n, d_model] of n activations from their codes."""
        ...


class DictionaryCoder:
    """A dictionary that encodes with a number of pursuit steps, and by a method, of its own."""

    def __init__(self, dictionary: Dictionary, l0: int, method: str | None = None) -> None:
        """Take a dictionary; the method is the one that it was built with unless given."""
        self._dictionary, self._l0, self._method = dictionary, l0, method

    @property
    def latents(self) -> int:
        """Its atoms."""
        return len(self._dictionary)

    def encode(self, x: torch.Tensor) -> Codes:
        """Sparse codes of x [n, d_model]; raises ValueError as `Dictionary.encode` does."""
        return self._dictionary.encode(x, self._l0, self._method)

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Reconstructions [n, d_model] of n activations from their codes."""
        return self._dictionary.decode(codes, n)
