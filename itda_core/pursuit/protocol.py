"""Matching pursuit (Mallat and Zhang 1993; the paper's Algorithm 2): which loops pursue, and the codes that come of it.

For one activation x: residual r ← x; k times: j = argmax |⟨r, d_j⟩|, c = ⟨r, d_j⟩, code[j] += c, r ← r − c·d_j. With
the Gram matrix G = D·Dᵀ the correlations of the next step follow from the last by one row of it, corr ← corr − c·G[j],
so that a step costs a row of memory traffic instead of a product with the whole dictionary.

Every way of pursuing has this interface, and takes activations from where they are: the compiled loops of the CPU, and
torch's on a GPU. `itda_core.pursuit.reference` holds the same algorithm as plainly as it can be written.
"""

from typing import Protocol

import numpy as np
import torch

from itda_core.common.types import Codes
from itda_core.pursuit import kernels
from itda_core.pursuit.sparse import flatten, sum_repeats

KINDS = {"relative": kernels.RELATIVE, "squared": kernels.SQUARED, "cosine": kernels.COSINE}
"""Units of the reconstruction error, as the compiled loops number them."""


class PursuitResult(Protocol):
    """What pursuit did with some rows."""

    def errors(self, kind: int) -> np.ndarray:
        """[rows] float64 errors of the reconstructions, in one of `KINDS`; 0 for a zero row."""
        ...

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps taken [rows], the atom picked at each [rows, k] and its coefficient [rows, k]; k bounds the steps."""
        ...


class PursuitBackend(Protocol):
    """Atoms in order of admission, with room to grow, and pursuit with them."""

    @property
    def n(self) -> int:
        """Atoms so far."""
        ...

    @property
    def block(self) -> int:
        """Rows that are best pursued together."""
        ...

    @property
    def in_order(self) -> int:
        """Rows that `admit_in_order` takes together, at the most."""
        ...

    @property
    def atoms(self) -> torch.Tensor:
        """[n, d_model] float32, unit norm, a view."""
        ...

    def append(self, rows: torch.Tensor) -> None:
        """Append rows [m, d_model] float32, scaled to unit norm."""
        ...

    def pursue(self, x: torch.Tensor, k: int) -> PursuitResult:
        """Pursue rows x [rows, d_model] float32 for at most k steps."""
        ...

    def admit_in_order(
        self, x: torch.Tensor, k: int, kind: int, threshold: float, room: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Judge rows one by one, each by a dictionary that holds the rows admitted before it, and admit at most `room`.

        Returns:
            errors [rows] float64, and the indices of the rows that were over the threshold and were appended.
        """
        ...


def pursuit_backend(d_model: int, device: torch.device, method: str) -> PursuitBackend:
    """An empty dictionary of activations of a width that come from a device, pursued by a `config.METHODS`."""
    if method == "orthogonal":
        from itda_core.pursuit.omp import OrthogonalBackend

        return OrthogonalBackend(d_model, device)
    signed = method != "nonnegative"
    if device.type == "cpu":
        from itda_core.pursuit.numba_backend import NumbaBackend

        return NumbaBackend(d_model, signed)
    from itda_core.pursuit.torch_backend import TorchBackend

    return TorchBackend(d_model, device, signed)


def encode(dictionary: PursuitBackend, x: torch.Tensor, k: int) -> Codes:
    """Sparse codes of x [n, d_model]. Memory beyond the arguments and the codes is that of one block.

    Raises ValueError when a value is not finite.
    """
    most = len(x) * k
    codes = Codes(np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32))
    end = 0
    for first in range(0, len(x), dictionary.block):
        rows = finite(x[first : first + dictionary.block], first)
        steps, picks, coefficients = dictionary.pursue(rows, k).arrays()
        with kernels.lock:
            sum_repeats(steps, picks, coefficients)
        end = flatten(first, steps, picks, coefficients, *codes, end)
    return Codes(*(array[:end] for array in codes))


def finite(x: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Rows as float32, contiguous, numbered from `first`.

    Raises ValueError when a value of theirs is not finite, or a row of float64 is beyond what float32 holds.
    """
    rows = x.detach().to(torch.float32).contiguous()
    if rows.numel() and not all(map(torch.isfinite, torch.aminmax(rows))):
        bad = int((~torch.isfinite(rows).all(1)).int().argmax())
        what = "too large for float32: scale them down" if torch.isfinite(x[bad]).all() else "not finite"
        raise ValueError(f"activation {first + bad} has a value that is {what}")
    if x.dtype == torch.float64 and rows.numel():
        lost = (rows.abs().amax(1) < torch.finfo(torch.float32).tiny) & x.any(1)
        if lost.any():
            raise ValueError(f"activation {first + int(lost.int().argmax())} is too small for float32: scale them up")
    return rows
