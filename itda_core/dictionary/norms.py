"""Leave out the activations whose norm is many times the median."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

from itda_core.common.arguments import sources_array
from itda_core.common.errors import UserError
from itda_core.common.norms import median_norm
from itda_core.pursuit import protocol
from itda_core.pursuit.tensors import activations_tensor


def row_norms(x: torch.Tensor) -> np.ndarray:
    """Return the norms [n] float32 of activations x [n, d_model], row by row, so that no batch changes them."""
    rows = x.cpu().numpy()
    return np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64)).astype(np.float32)


class NormLimit:
    """Largest norm of an activation that is used: a multiple of the median of all that are added."""

    def __init__(self, max_norm: float) -> None:
        self._max_norm = max_norm
        self._norms: list[np.ndarray] = []  # 4 bytes for each activation

    def add(self, activations: Any) -> None:
        """Add activations [n, d_model].

        Raises ValueError for a wrong shape, or for values that are not real and finite.
        """
        self._norms.append(row_norms(protocol.finite(activations_tensor(activations))))

    def largest(self) -> float:
        """Return the largest norm that is used.

        Raises UserError without activations, or if most of them are zero.
        """
        norms = np.concatenate([np.zeros(0, np.float32), *self._norms])
        if not len(norms):
            raise UserError("no activations came: nothing to take the median norm of")
        if not (median := median_norm(norms)):
            raise UserError("most activations are zero, and so is their median norm: leave out max_norm")
        return self._max_norm * median


def within(x: torch.Tensor, largest: float | None) -> torch.Tensor:
    """Return the mask of activations x [n, d_model] whose norm is at most `largest`; all of them for None.

    Bool, shape [n].
    """
    return torch.ones(len(x), dtype=torch.bool) if largest is None else torch.from_numpy(row_norms(x) <= largest)


def limited(
    replay: Callable[[], Iterable[tuple[Any, Any]]], largest: float
) -> Callable[[], Iterator[tuple[torch.Tensor, np.ndarray]]]:
    """Return a function that yields the batches without the activations over a norm."""

    def batches() -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        for activations, sources in replay():
            x = activations_tensor(activations)
            used = within(x, largest)
            yield x[used.to(x.device)], sources_array(sources, "sources", len(x))[used.numpy()]

    return batches
