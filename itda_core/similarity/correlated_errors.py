"""Correlation of the per-token reconstruction errors of two dictionaries.

It measures whether the same tokens are hard to reconstruct for both.

Symmetric. The errors are relative, |x − x̂|²/|x|², so it is invariant to rotations, reflections and permutations of
neurons, and to isotropic scaling; not to a shift of all activations. Source: this project; each dictionary
reconstructs the activations of its own site, as in Eq. 6 of the ITDA paper, and only the tokens are shared. Tokens
that are atoms of either are left out: their error is 0 whatever the model is.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from itda_core.pursuit.tensors import real_tensor
from itda_core.similarity.checks import TooFewTokens, rows_but, scaled

_LEAST_TOKENS = 3
_SPREAD = 1e-9  # share of the largest error; with less spread they are equal up to rounding


class Prepared(NamedTuple):
    """One site's preprocessed errors."""

    errors: np.ndarray
    """[n] float64, scaled: a correlation is scale-invariant."""
    counts: np.ndarray
    """[n] bool: mask of the tokens that are not atoms."""


def error_correlation(errors_a: Any, errors_b: Any, atoms_a: Any = (), atoms_b: Any = ()) -> float:
    """Return the Pearson correlation of two dictionaries' errors, in [-1, 1].

    Args:
        errors_a: [n] errors: each token's by the one dictionary.
        errors_b: [n] errors of the same tokens by the other.
        atoms_a: rows of the tokens that are atoms of the one dictionary, or a mask [n] of them.
        atoms_b: those of the other.

    Raises:
        ValueError: wrong shapes, an atom that is not a token, fewer than 3 tokens that are not atoms, a value that is
            not finite, or errors that are all equal.
    """
    a, b = prepare(errors_a, atoms_a, ("errors_a", "atoms_a")), prepare(errors_b, atoms_b, ("errors_b", "atoms_b"))
    if len(a.errors) != len(b.errors):
        raise ValueError(f"{len(a.errors)} errors against {len(b.errors)}: both models need the same tokens")
    return compare(a, b)


def prepare(errors: Any, atoms: Any = (), names: tuple[str, str] = ("errors", "atoms")) -> Prepared:
    """Preprocess errors [n] and the rows that are atoms for `compare`.

    Raises ValueError as `error_correlation` does.
    """
    values = real_tensor(errors, names[0]).to("cpu", torch.float64)
    if values.ndim != 1 or len(values) < _LEAST_TOKENS:
        raise ValueError(
            f"{names[0]} are [n], one for each of {_LEAST_TOKENS} tokens or more: got {list(values.shape)}"
        )
    if not torch.isfinite(values).all():
        bad = int((~torch.isfinite(values)).int().argmax())
        raise ValueError(f"error {bad} is not finite: leave its token out of both")
    return Prepared(scaled(values).numpy(), rows_but(len(values), atoms, names[1]).numpy())


def compare(a: Prepared, b: Prepared) -> float:
    """Return the measure of two preprocessed sites.

    Raises TooFewTokens if the remaining tokens are too few or their errors are all equal.
    """
    counts = a.counts & b.counts
    if counts.sum() < _LEAST_TOKENS:
        raise TooFewTokens(f"{counts.sum()} tokens are no atoms of either dictionary: give more tokens")
    one, other = (_centred(each.errors[counts]) for each in (a, b))
    return float(np.clip(one @ other, -1, 1))


def _centred(values: np.ndarray) -> np.ndarray:
    """Subtract the mean and scale to unit norm.

    Raises TooFewTokens if all values are equal.
    """
    values = values - values.mean()
    norm = np.linalg.norm(values)
    if not norm > _SPREAD * len(values):
        raise TooFewTokens("all errors are the same: give more tokens, or a dictionary that does not explain them all")
    return values / norm
