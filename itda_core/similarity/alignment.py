"""Linear centred kernel alignment (Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited",
Eq. 2 with a linear kernel).

Symmetric. Invariant to rotations, reflections and permutations of neurons, to isotropic scaling, and to a shift of all
activations; not to other linear maps.
"""

from typing import NamedTuple

import torch

from itda_core.similarity.checks import centred, check_pair, checked


class Prepared(NamedTuple):
    """One site's activations, ready to be compared."""

    x: torch.Tensor
    """[n, d] float64: centred, scaled so that the Frobenius norm of xᵀx is 1."""


def linear_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    """‖yᵀx‖² / (‖xᵀx‖ ‖yᵀy‖) of centred activations, in [0, 1]; 1 for the same up to rotation and scale.

    Args:
        x: [n, d1] float activations.
        y: [n, d2] float activations of the same tokens.

    Raises:
        ValueError: wrong shapes, fewer than 3 tokens, a value that is not finite, or constant activations.
    """
    check_pair(x, y)
    return compare(prepare(x), prepare(y))


def prepare(x: torch.Tensor) -> Prepared:
    """What `compare` needs of activations [n, d]. Raises ValueError as `linear_cka` does."""
    x = centred(checked(x))
    return Prepared(x / (x.T @ x).norm().sqrt())


def compare(a: Prepared, b: Prepared) -> float:
    """The measure of two prepared sites."""
    return min(1.0, float((b.x.T @ a.x).square().sum()))
