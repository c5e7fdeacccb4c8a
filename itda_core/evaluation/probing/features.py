"""Feature matrices for probes, which need not be materialised completely.

Codes are sparse; activations are stored as they are; projections on many directions are computed on demand.
"""

from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_array

from itda_core.common.types import Codes

_ROWS_AT_ONCE = 2048  # of projections


class Features(Protocol):
    """Protocol of the latents of n tokens."""

    @property
    def latents(self) -> int:
        """Number of latents."""
        ...

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of each latent over the tokens.

        Shape [latents], for weights [n].
        """
        ...

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each latent over selected tokens.

        Shape [latents], for a mask [n] bool.
        """
        ...

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """Return the values of selected latents on all tokens.

        Shape [n, k], in the requested order.
        """
        ...

    def whole(self) -> Any:
        """Return the complete feature matrix [n, latents], or None.

        Sparse unless there are few latents; None if it carries no more information than another feature set.
        """
        ...


class CodeFeatures:
    """Sparse codes: a latent is a coefficient, 0 where it is not used."""

    def __init__(self, codes: Codes, n: int, latents: int) -> None:
        """Store the codes of n tokens over the latents."""
        table = csr_array((codes.coefficient, (codes.row, codes.atom)), shape=(n, latents), dtype=np.float32)
        self._latents = latents
        self._by_row, self._by_latent = table, table.tocsc()

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self._latents

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of each latent over the tokens.

        Shape [latents], for weights [n].
        """
        return self._by_row.T @ weights

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each latent over selected tokens.

        Shape [latents], for a mask [n] bool.
        """
        shares = rows / np.count_nonzero(rows)
        squares = self._by_row.multiply(self._by_row).T @ shares
        return np.sqrt(np.maximum(squares - self.differences(shares) ** 2, 0))

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """Return the values of selected latents on all tokens.

        Shape [n, k], in the requested order.
        """
        return self._by_latent[:, latents].toarray().astype(np.float64)

    def whole(self) -> Any:
        """Return all coefficients [n, latents], sparse, float32."""
        return self._by_row


class DenseFeatures:
    """Raw activations: a latent is one of the model's own dimensions."""

    def __init__(self, x: np.ndarray) -> None:
        """Store activations x [n, d_model]."""
        self._x = x

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self._x.shape[1]

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of each latent over the tokens.

        Shape [latents], for weights [n].
        """
        return weights @ self._x

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each latent over selected tokens.

        Shape [latents], for a mask [n] bool.
        """
        return self._x[rows].std(0, dtype=np.float64)

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """Return the values of selected latents on all tokens.

        Shape [n, k], in the requested order.
        """
        return self._x[:, latents].astype(np.float64)

    def whole(self) -> np.ndarray:
        """Return the activations."""
        return self._x


class DirectionFeatures:
    """Signed inner products with random directions.

    The directions are unit vectors, uniformly distributed on the sphere.
    """

    def __init__(self, x: np.ndarray, latents: int, seed: int) -> None:
        """Sample `latents` directions for activations x [n, d_model]."""
        drawn = np.random.default_rng(seed).normal(size=(latents, x.shape[1]))
        self._x, self._directions = x, drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    @property
    def latents(self) -> int:
        """Number of latents."""
        return len(self._directions)

    def differences(self, weights: np.ndarray) -> np.ndarray:
        """Return the weighted sum of each latent over the tokens.

        Shape [latents], for weights [n].
        """
        return self._directions @ (weights @ self._x)

    def spreads(self, rows: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each latent over selected tokens.

        Shape [latents], for a mask [n] bool.
        """
        x = self._x[rows]
        x = x - x.mean(0, dtype=np.float64)
        squares = np.zeros(self.latents)
        for first in range(0, len(x), _ROWS_AT_ONCE):
            squares += np.square(x[first : first + _ROWS_AT_ONCE] @ self._directions.T).sum(0)
        return np.sqrt(squares / len(x))

    def columns(self, latents: np.ndarray) -> np.ndarray:
        """Return the values of selected latents on all tokens.

        Shape [n, k], in the requested order.
        """
        return self._x @ self._directions[latents].T

    def whole(self) -> None:
        """Return None.

        At least as many directions as the model has dimensions carry the same information as the activations.
        """
        return None
