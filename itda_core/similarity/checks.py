"""What every measure asks of the activations that it compares, and the forms of them that several measures use."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from itda_core.common.arguments import row_numbers
from itda_core.pursuit.tensors import activations_tensor

_RANK_TOLERANCE = 1e-7
"""Directions with a smaller share of the largest singular value are rounding: activations come in float32."""
_CONSTANT = 1e-6
"""Activations whose spread is a smaller share of their size are the same activation, but for rounding."""


class TooFewTokens(ValueError):
    """The activations are sound, but of too few tokens for what is asked of them."""


class Basis(NamedTuple):
    """Centred activations by their principal directions: x − mean = left · diag(singular) · rightᵀ."""

    left: torch.Tensor
    """[n, rank] float64, orthonormal columns."""
    singular: torch.Tensor
    """[rank] float64 singular values, the largest first."""


def checked(x: Any, least_rows: int = 3, name: str = "activations") -> torch.Tensor:
    """Activations [n, d] of one site as float64, scaled. Raises ValueError where no measure could say anything of them.

    Scaled by a power of two, which is exact: no measure looks at the scale, and products of what is near the largest or
    the smallest float64 would be infinite or zero.

    Args:
        x: activations: a tensor, an array or lists of real numbers.
        least_rows: how many of them the measure needs.
        name: the argument's, for the message.
    """
    x = activations_tensor(x, name=name)
    if len(x) < least_rows:
        raise TooFewTokens(f"{len(x)} activations are too few: this measure needs {least_rows} or more")
    x = x.to("cpu", torch.float64)
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).any(1).int().argmax())
        raise ValueError(f"activation {bad} has a value that is not finite: leave it out of both models")
    x = scaled(x)
    if float((x - x[0]).abs().max()) <= _CONSTANT * float(x.abs().max()):
        raise ValueError("all activations are the same: give activations of different tokens")
    return x


def check_pair(x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Both models' activations as tensors. Raises ValueError where they are not of the same tokens, row by row."""
    a, b = activations_tensor(x, name="x"), activations_tensor(y, name="y")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} activations against {len(b)}: both models need the same tokens, a row for each")
    return a, b


def rows_but(n: int, atoms: Any, name: str = "atoms") -> torch.Tensor:
    """[n] bool: which of n tokens are none of the atoms, given by their rows. Raises ValueError for no such row."""
    others = torch.ones(n, dtype=torch.bool)
    others[torch.from_numpy(row_numbers(atoms, n, name))] = False
    return others


def distinct_rows(n: int, given: Any, name: str) -> torch.Tensor:
    """[m] int64: rows of n tokens, each once, in order. Raises ValueError as `row_numbers` does."""
    return torch.from_numpy(np.unique(row_numbers(given, n, name)))


def at_most_one(value: float) -> float:
    """A similarity that is 1 at the most, but for rounding. Raises ValueError for NaN, which is no similarity."""
    if not math.isfinite(value):
        raise ValueError("the similarity of these activations cannot be computed: their values are too far apart")
    return min(1.0, value)


def scaled(x: torch.Tensor, each_row: bool = False) -> torch.Tensor:
    """x [n, d] times a power of two, exactly, so that its largest value, or each row's, lies between a half and 1."""
    largest = x.abs().amax(1, keepdim=True) if each_row else x.abs().max()
    power = -np.frexp(largest.cpu().numpy())[1]
    for part in (power // 2, power - power // 2):  # 2^1074 is beyond float64
        x = x * torch.as_tensor(np.ldexp(1.0, part), dtype=x.dtype, device=x.device)
    return x


def centred(x: torch.Tensor) -> torch.Tensor:
    """x [n, d] with every dimension's mean taken off."""
    return x - x.mean(0)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows of x [n, d] scaled to unit norm. Raises ValueError for a zero row, which has no direction."""
    x = scaled(x, each_row=True)  # the squares of small values would be zero
    norm = x.norm(dim=1, keepdim=True)
    if not (norm > 0).all():
        raise ValueError(f"activation {int((norm[:, 0] == 0).int().argmax())} is zero: leave it out of both models")
    return x / norm


def basis(x: torch.Tensor) -> Basis:
    """The principal directions of activations x [n, d], as many as there are beyond rounding."""
    # A QR first: the singular values of its small triangle are those of the tall matrix.
    orthogonal, triangle = torch.linalg.qr(centred(x))
    left, singular, _ = torch.linalg.svd(triangle, full_matrices=False)
    rank = int((singular > _RANK_TOLERANCE * singular[0]).sum())
    return Basis(orthogonal @ left[:, :rank], singular[:rank])
