"""Transplanting: transfer of one model's dictionary to another by its sources.

A source is a token position in the corpus, and every model has an activation there; so the sources of a dictionary of
A, read in B, are a dictionary of B whose atoms correspond to A's one to one. The measure is the share of tokens whose
strongest atom, the first that pursuit picks, has the same source in both. Tokens that are atoms are not counted: each
picks itself, in any model. Directed in that the sources are A's; symmetric for fixed sources. Invariant to rotations,
reflections and permutations of neurons, and to scaling; not to a shift of all activations. Source: this project, from
the ITDA paper's Algorithm 2 and the anchors of Moschella et al. 2023.
"""

from typing import Any, NamedTuple

import torch

from itda_core.similarity.checks import TooFewTokens, centred, check_pair, checked, distinct_rows, rows_but, unit_rows

_LEAST_TOKENS = 3  # minimum number of tokens that are not atoms


class Prepared(NamedTuple):
    """One site's preprocessed activations and dictionary, for either role."""

    mean: torch.Tensor
    """[d] float64: mean of the activations, each scaled to unit norm."""
    rest: torch.Tensor
    """[n, d] float32: what each has beside the mean; float32 would round it away where the mean is nearly all."""
    atoms: torch.Tensor
    """[m] int64: the rows that are the dictionary's sources."""
    tokens: torch.Tensor
    """[k] int64: the rows that are counted."""
    picks: torch.Tensor
    """[k] int64: index of the atom that each counted token picks first."""


def transplant(x: Any, y: Any, atoms: Any) -> float:
    """Return the share of tokens with the same first source in both models.

    The share is in [0, 1].

    Args:
        x: [n, d1] float activations of the model that the dictionary belongs to.
        y: [n, d2] float activations of the same tokens in the other model.
        atoms: [m] int: the rows of x that are the dictionary's sources; or a mask [n] of them.

    Raises:
        ValueError: wrong shapes, fewer than 3 tokens that are not atoms, fewer than 2 atoms, an atom that is not a
            row, a value that is not finite, or constant or zero activations.
    """
    x, y = check_pair(x, y)
    a = prepare(x, atoms)
    mean, rest = _parts(y)
    return compare(a, a._replace(mean=mean, rest=rest))


def prepare(x: Any, atoms: Any, most: int | None = None) -> Prepared:
    """Preprocess activations [n, d] and the rows that are atoms for `compare`.

    Args:
        x: activations.
        atoms: as `transplant` takes them.
        most: maximum number of tokens to count, the first ones that are not atoms; all of those by default.

    Raises ValueError as `transplant` does.
    """
    mean, rest = _parts(x)
    tokens = rows_but(len(rest), atoms).nonzero()[:most, 0]
    rows = distinct_rows(len(rest), atoms, "atoms")
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} atoms leave no choice: give 2 or more")
    if len(tokens) < _LEAST_TOKENS:
        raise TooFewTokens(f"{len(tokens)} tokens are no atoms: give more tokens, or fewer atoms")
    return Prepared(mean, rest, rows, tokens, _first_picks(mean, rest[tokens], rest[rows]))


def compare(a: Prepared, b: Prepared) -> float:
    """Return the measure of two preprocessed sites, with a's sources."""
    return float((a.picks == _first_picks(b.mean, b.rest[a.tokens], b.rest[a.atoms])).double().mean())


def _parts(x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    unit = unit_rows(checked(x))
    return unit.mean(0), centred(unit).float()


def _first_picks(mean: torch.Tensor, tokens: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    """Return the atom of the largest absolute cosine with each token; both without the mean of all."""
    common = mean @ mean + tokens.double() @ mean  # the same for all atoms
    cosine = tokens @ atoms.T + (atoms.double() @ mean).float()  # beyond that
    (high, most), (low, least) = cosine.max(1), cosine.min(1)
    return torch.where(common + high >= -(common + low), most, least)
