"""Linear regression: variance of one site explained by a linear map of the other.

Kornblith et al. 2019, §4, R² of linear regression; the baseline of the ITDA paper's Table 1.

Directed, from x to y. Invariant to any invertible affine map of x; for y, to rotations, reflections and permutations
of neurons, isotropic scaling, and a shift.
"""

from typing import Any, NamedTuple

import torch

from itda_core.similarity.checks import TooFewTokens, at_most_one, basis, check_pair, checked


class Prepared(NamedTuple):
    """One site's preprocessed activations, for use as predictor or target."""

    left: torch.Tensor
    """[n, rank] float64: orthonormal columns that span the image of all linear maps of the activations."""
    scaled: torch.Tensor
    """[n, rank] float64: the centred activations in their principal directions, of total variance 1."""


def linear_regression(x: Any, y: Any) -> float:
    """Return the R² of y from x by least squares with an intercept, in [0, 1].

    The R² is over all dimensions together.

    Args:
        x: [n, d1] float activations, the predictor.
        y: [n, d2] float activations of the same tokens, the target.

    Raises:
        ValueError: wrong shapes, a value that is not finite, constant activations, or no more tokens than directions,
            where the fit is perfect whatever the models are.
    """
    x, y = check_pair(x, y)
    return compare(prepare(x), prepare(y))


def prepare(x: Any) -> Prepared:
    """Preprocess activations [n, d] for `compare`.

    Raises ValueError as `linear_regression` does.
    """
    found = basis(checked(x))
    if found.left.shape[1] >= len(x) - 1:
        raise TooFewTokens(
            f"{len(x)} activations are too few for {found.left.shape[1]} directions, any fit would be perfect: "
            "give more tokens than dimensions"
        )
    return Prepared(found.left, found.left * (found.singular / found.singular.norm()))


def compare(a: Prepared, b: Prepared) -> float:
    """Return the R² of b from a."""
    return at_most_one(float((a.left.T @ b.scaled).square().sum()))
