"""What a probe reads of tokens: a table of latents that never has to be there as a whole.

Codes are sparse; activations are as they are; projections on many directions are worked out where they are asked for.
"""

from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array

from itda_core.common.types import Codes

_ROWS_AT_ONCE = 2048  # of projections


class Features(Protocol):
    """Latents of n tokens."""

    @property
    def latents(self) -> int:
        """How many there are."""
        ...

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """[latents] sums of each latent over the tokens, weighted by [n] weights."""
        ...

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """[latents] standard deviations over some of the tokens, [n] bool."""
        ...

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """[n, k] some latents of all tokens, in the order asked for."""
        ...

    def whole(self) -> Any:
        """[n, latents] all of all tokens, sparse unless few; None where that says no more than another does."""
        ...


class CodeFeatures:
    """Sparse codes: a latent is a coefficient, 0 where it is not used."""

    def __init__(self, codes: Codes, n: int, latents: int) -> None:
        """Codes of n tokens that use so many latents."""
        table = csr_array((codes.coefficient, (codes.row, codes.atom)), shape=(n, latents), dtype=np.float32)
        self._latents = latents
        self._by_row, self._by_latent = table, table.tocsc()

    @property
    def latents(self) -> int:
        """How many there are."""
        return self._latents

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """[latents] sums of each latent over the tokens, weighted by [n] weights."""
        return self._by_row.T @ weights

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """[latents] standard deviations over some of the tokens, [n] bool."""
        shares = rows / np.count_nonzero(rows)
        squares = self._by_row.multiply(self._by_row).T @ shares
        return np.sqrt(np.maximum(squares - self.differences(shares) ** 2, 0))

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """[n, k] some latents of all tokens, in the order asked for."""
        return self._by_latent[:, latents].toarray().astype(np.float64)

    def whole(self) -> Any:
        """[n, latents] all coefficients, sparse, float32."""
        return self._by_row


class DenseFeatures:
    """Activations as they are: a latent is one of the model's own dimensions."""

    def __init__(self, x: np.ndarray) -> None:
        """Activations x [n, d_model]."""
        self._x = x

    @property
    def latents(self) -> int:
        """How many there are."""
        return self._x.shape[1]

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """[latents] sums of each latent over the tokens, weighted by [n] weights."""
        return weights @ self._x

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """[latents] standard deviations over some of the tokens, [n] bool."""
        return self._x[rows].std(0, dtype=np.float64)

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """[n, k] some latents of all tokens, in the order asked for."""
        return self._x[:, latents].astype(np.float64)

    def whole(self) -> np.ndarray:
        """The activations."""
        return self._x


class DirectionFeatures:
    """Inner products, with their sign, with random directions: unit vectors drawn evenly from the sphere."""

    def __init__(self, x: np.ndarray, latents: int, seed: int) -> None:
        """So many directions for activations x [n, d_model]."""
        drawn = np.random.default_rng(seed).normal(size=(latents, x.shape[1]))
        self._x, self._directions = x, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    @property
    def latents(self) -> int:
        """How many there are."""
        return len(self._directions)

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """[latents] sums of each latent over the tokens, weighted by [n] weights."""
        return self._directions @ (weights @ self._x)

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """[latents] standard deviations over some of the tokens, [n] bool."""
        x = self._x[rows]
        x = x - x.mean(0, dtype=np.float64)
        squares = np.zeros(self.latents)
        for first in range(0, len(x), _ROWS_AT_ONCE):
            squares += np.square(x[first : first + _ROWS_AT_ONCE] @ self._directions.T).sum(0)
        return np.sqrt(squares / len(x))

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """[n, k] some latents of all tokens, in the order asked for."""
        return self._x @ self._directions[latents].T

    def whole(self) -> None:
        """Nothing: as many directions as the model has dimensions, or more, tell what the activations tell."""
        return None
