"""Correlation of per-token reconstruction errors: which tokens two dictionaries find hard.

Symmetric. The errors are relative, |x − x̂|²/|x|², so it is invariant to rotations, reflections and permutations of
neurons, and to isotropic scaling; not to a shift of all activations. Source: this project; each dictionary explains the
activations of its own site, as in Eq. 6 of the ITDA paper, and the tokens are what the two have in common.
"""

from typing import Any, NamedTuple

import numpy as np

from itda_core.similarity.checks import TooFewTokens


class Prepared(NamedTuple):
    """One site's errors, ready to be compared."""

    profile: np.ndarray
    """[n] float64: centred and scaled to unit norm."""


def error_correlation(errors_a: Any, errors_b: Any) -> float:
    """Pearson correlation of two dictionaries' errors on the same tokens, in [-1, 1].

    Args:
        errors_a: [n] float errors, tensor or array: each token's by the one dictionary.
        errors_b: [n] float errors by the other.

    Raises:
        ValueError: wrong shapes, fewer than 3 tokens, a value that is not finite, or errors that are all the same.
    """
    a, b = prepare(errors_a), prepare(errors_b)
    if len(a.profile) != len(b.profile):
        raise ValueError(f"{len(a.profile)} errors against {len(b.profile)}: both models need the same tokens")
    return compare(a, b)


def prepare(errors: Any) -> Prepared:
    """What `compare` needs of errors [n]. Raises ValueError as `error_correlation` does."""
    values = np.asarray(errors, dtype=np.float64)
    if values.ndim != 1 or len(values) < 3:
        raise ValueError(f"errors are [n], one for each of 3 tokens or more: got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"error {int((~np.isfinite(values)).argmax())} is not finite: leave its token out of both")
    values = values - values.mean()
    norm = np.linalg.norm(values)
    if not norm > 1e-9 * len(values):
        raise TooFewTokens("all errors are the same: give more tokens, or a dictionary that does not explain them all")
    return Prepared(values / norm)


def compare(a: Prepared, b: Prepared) -> float:
    """The measure of two prepared sites."""
    return float(np.clip(a.profile @ b.profile, -1, 1))
