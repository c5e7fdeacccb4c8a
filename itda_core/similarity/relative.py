"""Similarity of relative representations, as in the ITDA paper's §5.1.

Moschella et al. 2023, "Relative representations enable zero-shot latent space communication", §3.

Each activation is represented by its cosines with the activations at anchor tokens, the same tokens in both models;
the measure is the mean cosine between the two representations of a token. Symmetric. Invariant to rotations,
reflections and permutations of neurons, and to isotropic scaling; not to a shift of all activations.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch

from itda_core.common.arguments import array_of, count, row_numbers
from itda_core.common.errors import ChanceWarning
from itda_core.similarity.checks import check_pair, checked, unit_rows

MUCH_BY_CHANCE = 0.9
"""Minimum expected value by chance that triggers a warning."""
_SEED = 0


class Prepared(NamedTuple):
    """One site's preprocessed activations."""

    relative: torch.Tensor
    """[n, anchors] float32: relative representations, scaled to unit norm."""


def relative_representation(x: Any, y: Any, anchors: Any = 300) -> float:
    """Return the mean cosine between relative representations, in [-1, 1].

    Args:
        x: [n, d1] float activations.
        y: [n, d2] float activations of the same tokens.
        anchors: number of tokens sampled as anchors (at most n are), with a fixed seed; or their rows, [m] int; or a
            mask [n] of them.

    Warns with ChanceWarning where the measure would be 0.9 or more with the tokens of one model shuffled, as where one
    dimension is large at every token.

    Raises:
        ValueError: wrong shapes, fewer than 3 tokens, a value that is not finite, constant or zero activations, fewer
            than 2 anchors, or an anchor that is not a row.
    """
    x, y = check_pair(x, y)
    a, b = prepare(x, anchors), prepare(y, anchors)
    if (shuffled := by_chance(a, b)) >= MUCH_BY_CHANCE:
        warnings.warn(
            "all activations of a model have much in common: with the tokens of one model shuffled relative "
            f"representation would be {shuffled:.2f} all the same; take out the mean of each model's activations first",
            ChanceWarning,
            stacklevel=2,
        )
    return compare(a, b)


def prepare(x: Any, anchors: Any = 300) -> Prepared:
    """Preprocess activations [n, d] for `compare`.

    Raises ValueError as `relative_representation` does.
    """
    unit = unit_rows(checked(x)).float()
    return Prepared(unit_rows(unit @ unit[anchor_rows(len(x), anchors)].T))


def anchor_rows(n: int, anchors: Any) -> torch.Tensor:
    """Return the rows of the anchors among n tokens.

    Int64, shape [m]. Raises ValueError as `relative_representation` does.
    """
    if np.ndim(array_of(anchors, "anchors")) == 0:
        rows = torch.randperm(n, generator=torch.Generator().manual_seed(_SEED))[: count(anchors, "anchors", 0)]
    else:
        rows = torch.from_numpy(row_numbers(anchors, n, "anchors"))
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} anchors are too few: give 2 or more")
    return rows


def compare(a: Prepared, b: Prepared) -> float:
    """Return the measure of two preprocessed sites."""
    return float(torch.einsum("na,na->n", a.relative, b.relative).double().mean())


def by_chance(a: Prepared, b: Prepared) -> float:
    """Return the measure's mean over all permutations of one site's tokens."""
    return float(a.relative.double().mean(0) @ b.relative.double().mean(0))
