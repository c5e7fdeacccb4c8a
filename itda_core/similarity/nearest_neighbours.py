"""Mutual k-nearest neighbours (Huh et al. 2024).

"The Platonic Representation Hypothesis", appendix A: for each token its k nearest others by cosine, in both models;
the measure is the mean share of them that both have in common. Symmetric. Invariant to rotations, reflections and
permutations of neurons, and to scaling, even of each activation separately; not to a shift of all activations.
"""

from typing import Any, NamedTuple

import torch

from itda_core.common.arguments import count
from itda_core.similarity.checks import centred, check_pair, checked, scaled, unit_rows

_BLOCK = 512  # rows whose distances to all others are in memory at once


class Prepared(NamedTuple):
    """One site's preprocessed activations."""

    neighbours: torch.Tensor
    """[n, k] int64: rows of each token's nearest others, in ascending order of row."""


def mutual_knn(x: Any, y: Any, k: int = 10) -> float:
    """Return the mean share of k nearest neighbours common to two models, in [0, 1].

    About k/n by chance.

    Args:
        x: [n, d1] float activations.
        y: [n, d2] float activations of the same tokens.
        k: number of neighbours.

    Raises:
        ValueError: wrong shapes, k below 1, no more than k + 1 tokens (all would be neighbours), a value that is not
            finite, or constant or zero activations.
    """
    x, y = check_pair(x, y)
    return compare(prepare(x, k), prepare(y, k))


def prepare(x: Any, k: int = 10) -> Prepared:
    """Preprocess activations [n, d] for `compare`.

    Raises ValueError as `mutual_knn` does.
    """
    k = count(k, "k")
    # cosine(i, j) is 1 − |u_i − u_j|²/2: what u_i has in common with all tokens does not order its neighbours, and is
    # taken out before float32 would round away the rest, where one dimension is large at every token.
    rest = scaled(centred(unit_rows(checked(x, k + 2)))).float()
    half = rest.square().sum(1) / 2
    found = torch.empty(len(rest), k, dtype=torch.int64)
    for start in range(0, len(rest), _BLOCK):
        near = rest[start : start + _BLOCK] @ rest.T - half
        here = torch.arange(len(near))
        near[here, start + here] = -torch.inf  # no token is its own neighbour
        found[start : start + _BLOCK] = near.topk(k, sorted=False).indices
    return Prepared(found.sort(1).values)


def compare(a: Prepared, b: Prepared) -> float:
    """Return the measure of two preprocessed sites."""
    # Each row's neighbours are distinct, so a shared one appears twice in a row once both lists are sorted.
    both = torch.cat([a.neighbours, b.neighbours], 1).sort(1).values
    return float((both[:, 1:] == both[:, :-1]).sum()) / a.neighbours.numel()
