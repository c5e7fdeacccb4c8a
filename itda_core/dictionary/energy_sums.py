"""Running energy statistics of activations, independent of batching and resumable."""

import numpy as np
import torch

from itda_core.common.energy import Spread

_LEAST_ROWS = 20
"""Minimum number of activations for a meaningful mean."""
_SMALL = 1e-25


class EnergySums:
    """Running per-dimension sums of activations and of their squares."""

    def __init__(self) -> None:
        self._rows = 0
        self._sums = torch.zeros(2, 0, dtype=torch.float64)  # of the values and of their squares, by dimension

    def add(self, x: torch.Tensor) -> None:
        """Add activations x [n, d_model] float32."""
        sums = _sums_here(x.numpy()) if x.device.type == "cpu" else _sums_on_device(x)
        self._sums = sums if self._rows == 0 else self._sums + sums
        self._rows += len(x)

    @property
    def spread(self) -> Spread | None:
        """Concentration of the energy; None for too few activations, or if all are zero."""
        sums, squares = self._sums
        total = float(squares.sum())
        if self._rows < _LEAST_ROWS or total == 0:
            return None
        mean = float(sums.square().sum()) / (self._rows * total)
        return Spread(min(1.0, mean), int(squares.argmax()), float(squares.max()) / total)

    def note(self) -> str | None:
        """Return a one-line caveat about relative errors, or None if there is none."""
        return None if self.spread is None else self.spread.note()

    def state(self, name: str = "energy") -> dict[str, torch.Tensor]:
        """Return the state for `resume`, under a name."""
        return {name: self._sums.clone(), f"{name}_rows": torch.tensor(self._rows)}

    @classmethod
    def resume(cls, state: dict[str, torch.Tensor], name: str = "energy") -> "EnergySums":
        """Restore sums from their `state`.

        Raises KeyError if the state has none of that name.
        """
        found = cls()
        found._rows, found._sums = int(state[f"{name}_rows"]), state[name].clone()
        return found


def _sums_here(x: np.ndarray) -> torch.Tensor:
    """Return [2, d] float64 sums of x [n, d] and of its squares.

    On the CPU this is several times as fast as torch.
    """
    with np.errstate(over="ignore"):
        squares = np.einsum("nd,nd->d", x, x)
    if not _SMALL < squares.max(initial=0) < np.inf:  # float32 may underflow or overflow
        squares = np.einsum("nd,nd->d", x, x, dtype=np.float64)
    return torch.from_numpy(np.stack([x.sum(0, dtype=np.float64), squares]))


def _sums_on_device(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.sum(0, dtype=torch.float64), x.double().square().sum(0)]).cpu()
