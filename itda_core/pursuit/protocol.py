"""Matching pursuit: the backend interface, and the encoding of activations.

Mallat and Zhang 1993; the paper's Algorithm 2. For one activation x: residual r ← x; k times: j = argmax |⟨r, d_j⟩|, c
= ⟨r, d_j⟩, code[j] += c, r ← r − c·d_j. With the Gram matrix G = D·Dᵀ the correlations of the next step follow from the
last by one row of it, corr ← corr − c·G[j], so that a step costs a row of memory traffic instead of a product with the
full dictionary.

All backends share this interface and accept activations on their device: compiled loops on the CPU, torch on a GPU.
`itda_core.pursuit.reference` implements the same algorithm as plainly as possible.
"""

from typing import Protocol

import numpy as np
import torch

from itda_core.common.types import Codes
from itda_core.pursuit import arrays
from itda_core.pursuit.sparse import flatten, sum_repeats

KINDS = {"relative": arrays.RELATIVE, "squared": arrays.SQUARED, "cosine": arrays.COSINE}
"""Units of the reconstruction error, by their number in the compiled loops."""


class PursuitResult(Protocol):
    """Result of pursuing a block of rows."""

    def errors(self, kind: int) -> np.ndarray:
        """Return [rows] float64 reconstruction errors in one of `KINDS`; 0 for a zero row."""
        ...

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return steps [rows], picked atoms [rows, k] and coefficients [rows, k].

        Entries beyond a row's number of steps are undefined; k bounds the steps.
        """
        ...


class PursuitBackend(Protocol):
    """Growing list of atoms in order of admission, and pursuit over them."""

    @property
    def n(self) -> int:
        """Number of atoms."""
        ...

    @property
    def block(self) -> int:
        """Preferred number of rows to pursue together."""
        ...

    @property
    def in_order(self) -> int:
        """Maximum number of rows per call of `admit_in_order`."""
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
        """Judge rows sequentially and admit at most `room` of them.

        Each row is judged by a dictionary that includes the rows admitted before it.

        Returns:
            errors [rows] float64, and the indices of the rows that exceeded the threshold and were appended.
        """
        ...


def pursuit_backend(d_model: int, device: torch.device, method: str) -> PursuitBackend:
    """Create an empty backend for activations of a width on a device.

    `method` is one of `settings.METHODS`.
    """
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
    """Return the sparse codes of x [n, d_model].

    Memory beyond the arguments and the codes is that of one block. Raises ValueError for a value that is not finite.
    """
    most = len(x) * k
    codes = Codes(np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.float32))
    end = 0
    for first in range(0, len(x), dictionary.block):
        rows = finite(x[first : first + dictionary.block], first)
        steps, picks, coefficients = dictionary.pursue(rows, k).arrays()
        with arrays.lock:
            sum_repeats(steps, picks, coefficients)
        end = flatten(first, steps, picks, coefficients, *codes, end)
    return Codes(*(array[:end] for array in codes))


def finite(x: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Return rows as contiguous float32; `first` is the number of the first row.

    Raises ValueError for a value that is not finite, or a float64 row that is out of the range of float32.
    """
    rows = x.detach().to(torch.float32).contiguous()
    if rows.numel() and not all(map(torch.isfinite, torch.aminmax(rows))):
        bad = int((~torch.isfinite(rows).all(1)).int().argmax())
        problem = "too large for float32: scale them down" if torch.isfinite(x[bad]).all() else "not finite"
        raise ValueError(f"activation {first + bad} has a value that is {problem}")
    if x.dtype == torch.float64 and rows.numel():
        lost = (rows.abs().amax(1) < torch.finfo(torch.float32).tiny) & x.any(1)
        if lost.any():
            raise ValueError(f"activation {first + int(lost.int().argmax())} is too small for float32: scale them up")
    return rows
