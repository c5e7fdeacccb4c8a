"""Linear centred kernel alignment (CKA) and its debiased estimate.

Sources: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", Eq. 2 with a linear kernel;
the debiased estimate is from Murphy et al. 2024, "Correcting Biased Centered Kernel Alignment Measures in Biological
and Artificial Neural Networks", with the unbiased HSIC of Song et al. 2012, Eq. 5.

Symmetric. Invariant to rotations, reflections and permutations of neurons, to isotropic scaling, and to a shift of
all activations; not to other linear maps.

The usual estimate is above 0 for independent activations, and near 1 for activations with more dimensions than
tokens; for many tokens both estimates agree. The usual one is what is published, so it is the default, with a warning
where its expected value by chance is large.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import ChanceWarning
from itda_core.similarity.checks import TooFewTokens, at_most_one, centred, check_pair, checked

MUCH_BY_CHANCE = 0.1
"""Minimum expected linear CKA by chance that triggers a warning."""
_LEAST_DEBIASED = 4  # tokens
_ROUNDING = 1e-12  # tolerance for HSIC, which may be zero after the chance level is subtracted


class Prepared(NamedTuple):
    """One site's preprocessed activations."""

    x: torch.Tensor
    """[n, d] float64: centred, scaled so that the Frobenius norm of xᵀx is 1."""
    energy: float
    """Squared Frobenius norm of x: the larger, the more dimensions the activations span."""


class DebiasedPrepared(NamedTuple):
    """One site's preprocessed activations for the debiased estimate."""

    x: torch.Tensor
    """[n, d] float64: centred, scaled so that the unbiased HSIC of x with itself is 1."""
    squares: torch.Tensor
    """[n] float64: squared norm of each row of x."""


def linear_cka(x: Any, y: Any, debiased: bool = False) -> float:
    """Return the linear CKA of two sites, in [0, 1].

    ‖yᵀx‖² / (‖xᵀx‖ ‖yᵀy‖) of centred activations; 1 for activations equal up to rotation and scale.

    Args:
        x: [n, d1] activations.
        y: [n, d2] activations of the same tokens.
        debiased: subtract the chance level: in [-1, 1], 0 on average for independent activations.

    Warns with ChanceWarning where the usual estimate would be 0.1 or more with the tokens of one model shuffled.

    Raises:
        ValueError: wrong shapes, fewer than 3 tokens (4 debiased), a value that is not finite, or constant
            activations.
    """
    x, y = check_pair(x, y)
    if debiased:
        return compare_debiased(prepare_debiased(x), prepare_debiased(y))
    a, b = prepare(x), prepare(y)
    if (shuffled := by_chance(a, b)) >= MUCH_BY_CHANCE:
        warnings.warn(
            f"{len(x)} tokens are few for {x.shape[1]} and {y.shape[1]} dimensions: with the tokens of one model "
            f"shuffled linear CKA would be {shuffled:.2f} all the same; debiased=True takes that off",
            ChanceWarning,
            stacklevel=2,
        )
    return compare(a, b)


def prepare(x: Any) -> Prepared:
    """Preprocess activations [n, d] for `compare`.

    Raises ValueError as `linear_cka` does.
    """
    x = centred(checked(x))
    x = x / (x.T @ x).norm().sqrt()
    return Prepared(x, float(x.square().sum()))


def compare(a: Prepared, b: Prepared) -> float:
    """Return the measure of two preprocessed sites."""
    return at_most_one(float((b.x.T @ a.x).square().sum()))


def by_chance(a: Prepared, b: Prepared) -> float:
    """Return the measure's mean over all permutations of one site's tokens."""
    return a.energy * b.energy / (len(a.x) - 1)


def caution(sites_a: Sequence[Prepared], sites_b: Sequence[Prepared]) -> str | None:
    """Return a caveat about the measure of two models' layers, or None."""
    most = max(by_chance(a, b) for a in sites_a for b in sites_b)
    if most < MUCH_BY_CHANCE:
        return None
    return (
        f"{len(sites_a[0].x):,} tokens are few for so many dimensions: with the tokens of one model shuffled it would "
        f"be up to {most:.2f}; the debiased estimate has that taken off"
    )


def prepare_debiased(x: Any) -> DebiasedPrepared:
    """Preprocess activations [n, d] for `compare_debiased`.

    Raises ValueError as `linear_cka` does.
    """
    x = centred(checked(x, _LEAST_DEBIASED))
    x = x / x.norm()
    squares = x.square().sum(1)
    strength = _unbiased_hsic(x, squares, x, squares)
    if not strength > _ROUNDING:
        raise TooFewTokens(f"{len(x)} tokens are equally far from each other, but for chance: give more tokens")
    return DebiasedPrepared(x / strength**0.25, squares / strength**0.5)


def compare_debiased(a: DebiasedPrepared, b: DebiasedPrepared) -> float:
    """Return the debiased measure of two preprocessed sites."""
    return at_most_one(_unbiased_hsic(a.x, a.squares, b.x, b.squares))


def _unbiased_hsic(x: torch.Tensor, squares_x: torch.Tensor, y: torch.Tensor, squares_y: torch.Tensor) -> float:
    """Return n (n − 3) times the unbiased HSIC, without forming the kernels.

    The inputs are centred x [n, d1] and y [n, d2] and the squared norms of their rows. With k = xxᵀ and m = yyᵀ with
    their diagonals set to zero, it is tr(km) + 1ᵀk1 1ᵀm1 / (n − 1)(n − 2) − 2 · 1ᵀkm1 / (n − 2); since x is centred,
    k1 is −squares_x.
    """
    n, both = len(x), float(squares_x @ squares_y)
    return (
        float((y.T @ x).square().sum())
        - both
        + float(squares_x.sum() * squares_y.sum()) / ((n - 1) * (n - 2))
        - 2 * both / (n - 2)
    )
