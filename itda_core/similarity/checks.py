"""Input checks and preprocessing shared by the similarity measures."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from itda_core.common.arguments import row_numbers
from itda_core.pursuit.tensors import activations_tensor

_RANK_TOLERANCE = 1e-7
"""Directions with a singular value below this share of the largest are rounding errors: activations are float32."""
_CONSTANT = 1e-6
"""Activations whose spread is below this share of their magnitude are equal up to rounding."""


class TooFewTokens(ValueError):
    """Valid activations of too few tokens for the requested measure."""


class Basis(NamedTuple):
    """Principal-direction basis of centred activations.

    x − mean = left · diag(singular) · rightᵀ.
    """

    left: torch.Tensor
    """[n, rank] float64, orthonormal columns."""
    singular: torch.Tensor
    """[rank] float64 singular values, in descending order."""


def checked(x: Any, least_rows: int = 3, name: str = "activations") -> torch.Tensor:
    """Return one site's activations [n, d] as scaled float64.

    Scaled by a power of two, which is exact: all measures are scale-invariant, and products of values near the
    largest or the smallest float64 would overflow or underflow.

    Args:
        x: activations: a tensor, an array or lists of real numbers.
        least_rows: minimum number of activations that the measure needs.
        name: the argument's name, for the message.

    Raises:
        ValueError: the measure is undefined for the activations: wrong shapes, too few tokens, a value that is not
            finite, or constant activations.
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
        raise ValueError(
            "all activations are the same, but for a millionth: give those of different tokens, or take out their mean"
        )
    return x


def check_pair(x: Any, y: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both models' activations as tensors.

    Raises ValueError if they do not have the same tokens, one row for each.
    """
    a, b = activations_tensor(x, name="x"), activations_tensor(y, name="y")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} activations against {len(b)}: both models need the same tokens, a row for each")
    return a, b


def rows_but(n: int, atoms: Any, name: str = "atoms") -> torch.Tensor:
    """Return the mask of the tokens that are not atoms, from the atoms' rows.

    Bool, shape [n]. Raises ValueError for a row that does not exist.
    """
    others = torch.ones(n, dtype=torch.bool)
    others[torch.from_numpy(row_numbers(atoms, n, name))] = False
    return others


def distinct_rows(n: int, rows: Any, name: str) -> torch.Tensor:
    """Return the distinct rows among n tokens, in ascending order.

    Int64, shape [m]. Raises ValueError as `row_numbers` does.
    """
    return torch.from_numpy(np.unique(row_numbers(rows, n, name)))


def at_most_one(value: float) -> float:
    """Clip a similarity that exceeds 1 by rounding to 1.

    Raises ValueError for a value that is not finite.
    """
    if not math.isfinite(value):
        raise ValueError("the similarity of these activations cannot be computed: their values are too far apart")
    return min(1.0, value)


def scaled(x: torch.Tensor, each_row: bool = False) -> torch.Tensor:
    """Scale x [n, d] exactly by a power of two to a maximum between 0.5 and 1.

    The maximum is the largest absolute value of x, or of each row.
    """
    largest = x.abs().amax(1, keepdim=True) if each_row else x.abs().max()
    power = -np.frexp(largest.cpu().numpy())[1]
    for part in (power // 2, power - power // 2):  # 2^1074 exceeds the range of float64
        x = x * torch.as_tensor(np.ldexp(1.0, part), dtype=x.dtype, device=x.device)
    return x


def centred(x: torch.Tensor) -> torch.Tensor:
    """Subtract every dimension's mean from x [n, d]."""
    return x - x.mean(0)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Scale the rows of x [n, d] to unit norm.

    Raises ValueError for a zero row, which has no direction.
    """
    x = scaled(x, each_row=True)  # the squares of small values would underflow
    norm = x.norm(dim=1, keepdim=True)
    if not (norm > 0).all():
        raise ValueError(f"activation {int((norm[:, 0] == 0).int().argmax())} is zero: leave it out of both models")
    return x / norm


def basis(x: torch.Tensor) -> Basis:
    """Return the principal directions of activations x [n, d].

    Directions at the level of rounding errors are left out.
    """
    # A QR first: the singular values of its small triangular factor are those of the tall matrix.
    orthogonal, triangle = torch.linalg.qr(centred(x))
    left, singular, _ = torch.linalg.svd(triangle, full_matrices=False)
    rank = int((singular > _RANK_TOLERANCE * singular[0]).sum())
    return Basis(orthogonal @ left[:, :rank], singular[:rank])
