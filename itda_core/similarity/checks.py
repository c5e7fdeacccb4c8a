"""What every measure asks of the activations that it compares, and the forms of them that several measures use."""

from typing import Any, NamedTuple

import torch

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


def checked(x: torch.Tensor, least_rows: int = 3) -> torch.Tensor:
    """Activations [n, d] of one site as float64. Raises ValueError where no measure could say anything of them.

    Args:
        x: activations, float.
        least_rows: how many of them the measure needs.
    """
    if not isinstance(x, torch.Tensor) or x.ndim != 2 or x.shape[1] == 0 or not x.is_floating_point():
        shape = list(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"activations are a float tensor [n, d], got {shape}: pass one activation a row")
    if len(x) < least_rows:
        raise TooFewTokens(f"{len(x)} activations are too few: this measure needs {least_rows} or more")
    x = x.detach().to("cpu", torch.float64)
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).any(1).int().argmax())
        raise ValueError(f"activation {bad} has a value that is not finite: leave it out of both models")
    if float((x - x[0]).abs().max()) <= _CONSTANT * float(x.abs().max()):
        raise ValueError("all activations are the same: give activations of different tokens")
    return x


def check_pair(x: torch.Tensor, y: torch.Tensor) -> None:
    """Raises ValueError where two models' activations are not of the same tokens, row by row."""
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) and x.ndim == y.ndim == 2 and len(x) != len(y):
        raise ValueError(f"{len(x)} activations against {len(y)}: both models need the same tokens, a row for each")


def rows_but(n: int, atoms: Any) -> torch.Tensor:
    """[n] bool: which of n tokens are none of the atoms, given by their rows. Raises ValueError for no such row."""
    rows = torch.as_tensor(atoms, dtype=torch.int64)
    if rows.ndim != 1 or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < n):
        raise ValueError(f"atoms are rows of the activations, whole numbers from 0 to {n - 1}")
    others = torch.ones(n, dtype=torch.bool)
    others[rows] = False
    return others


def centred(x: torch.Tensor) -> torch.Tensor:
    """x [n, d] with every dimension's mean taken off."""
    return x - x.mean(0)


def unit_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows of x [n, d] scaled to unit norm. Raises ValueError for a zero row, which has no direction."""
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
