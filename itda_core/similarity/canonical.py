"""Singular vector canonical correlation analysis (Raghu et al. 2017, "SVCCA", §2).

Each site is cut to the principal directions that hold a share of its variance (0.99 in the paper); the measure is the
mean of the canonical correlations between the two subspaces. Symmetric. Invariant to rotations, reflections and
permutations of neurons, to isotropic scaling, and to a shift of all activations.
"""

from typing import NamedTuple

import torch

from itda_core.similarity.checks import TooFewTokens, basis, check_pair, checked

_MOST_FORCED = 0.5
"""Share of the correlations that may be 1 because of the number of tokens alone."""


class Prepared(NamedTuple):
    """One site's activations, ready to be compared."""

    left: torch.Tensor
    """[n, directions] float64: orthonormal columns that span the kept directions."""


def svcca(x: torch.Tensor, y: torch.Tensor, kept: float = 0.99) -> float:
    """Mean canonical correlation of the kept directions, in [0, 1]; over the smaller of the two subspaces.

    Args:
        x: [n, d1] float activations.
        y: [n, d2] float activations of the same tokens.
        kept: share of the variance whose directions are kept, in (0, 1].

    Raises:
        ValueError: wrong shapes, a value that is not finite, constant activations, `kept` out of range, or so few
            tokens that more than half of the correlations are 1 whatever the models are.
    """
    check_pair(x, y)
    return compare(prepare(x, kept), prepare(y, kept))


def prepare(x: torch.Tensor, kept: float = 0.99) -> Prepared:
    """What `compare` needs of activations [n, d]. Raises ValueError as `svcca` does."""
    if not 0 < kept <= 1:
        raise ValueError(f"kept is {kept}: it must be over 0 and at most 1")
    found = basis(checked(x))
    share = found.singular.square().cumsum(0) / found.singular.square().sum()
    # The first direction with which the share is reached; rounding may leave the last a little under 1.
    directions = min(int((share < kept * (1 - 1e-12)).sum()) + 1, len(share))
    return Prepared(found.left[:, :directions])


def compare(a: Prepared, b: Prepared) -> float:
    """The measure of two prepared sites."""
    n, directions = len(a.left), sorted((a.left.shape[1], b.left.shape[1]))
    # Two subspaces of the n − 1 dimensions that centred activations span meet in this many, whatever the models are.
    forced = sum(directions) - (n - 1)
    if forced > _MOST_FORCED * directions[0]:
        raise TooFewTokens(
            f"{n} activations are too few for {directions[0]} and {directions[1]} directions, {forced} of the "
            "correlations would be 1 by themselves: give more tokens"
        )
    # Between orthonormal bases the canonical correlations are the singular values of their product.
    return float(torch.linalg.svdvals(a.left.T @ b.left).clamp(max=1).mean())
