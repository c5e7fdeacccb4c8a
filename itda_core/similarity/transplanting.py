"""Transplanting: one model's dictionary carried over to another by its sources.

A source is a place in the text, and every model has an activation there; so the sources of a dictionary of A, read in
B, are a dictionary of B whose atoms correspond to A's one to one. The measure counts the tokens whose strongest atom,
the first that pursuit picks, has the same source in both. Tokens that are atoms are not counted: each picks itself, in
any model. Directed by whose sources they are; symmetric once those are given. Invariant to rotations, reflections and
permutations of neurons, and to scaling; not to a shift of all activations. Source: this project, from the ITDA paper's
Algorithm 2 and the anchors of Moschella et al. 2023.
"""

from typing import Any, NamedTuple

import torch

from itda_core.similarity.checks import TooFewTokens, check_pair, checked, distinct_rows, rows_but, unit_rows

_LEAST_TOKENS = 3  # that are no atoms


class Prepared(NamedTuple):
    """One site's activations and its dictionary, ready to be compared in both roles."""

    unit: torch.Tensor
    """[n, d] float32 activations, scaled to unit norm."""
    atoms: torch.Tensor
    """[m] int64: the rows that are the dictionary's sources."""
    tokens: torch.Tensor
    """[k] int64: the rows that are counted."""
    picks: torch.Tensor
    """[k] int64: which of the atoms each of them picks first."""


def transplant(x: Any, y: Any, atoms: Any) -> float:
    """Share of the tokens that first pick the same source in both models, in [0, 1].

    Args:
        x: [n, d1] float activations of the model whose dictionary it is.
        y: [n, d2] float activations of the same tokens in the other model.
        atoms: [m] int: the rows of x that are the dictionary's sources; or a mask [n] of them.

    Raises:
        ValueError: wrong shapes, fewer than 3 tokens that are no atoms, fewer than 2 atoms, an atom that is no row, a
            value that is not finite, or constant or zero activations.
    """
    x, y = check_pair(x, y)
    a = prepare(x, atoms)
    return compare(a, a._replace(unit=_unit(y)))


def prepare(x: Any, atoms: Any, most: int | None = None) -> Prepared:
    """What `compare` needs of activations [n, d] and the rows that are atoms.

    Args:
        x: activations.
        atoms: as `transplant` takes them.
        most: so many tokens are counted, the first ones that are no atoms; all of those unless given.

    Raises ValueError as `transplant` does.
    """
    unit = _unit(x)
    tokens = rows_but(len(unit), atoms).nonzero()[:most, 0]
    rows = distinct_rows(len(unit), atoms, "atoms")
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} atoms leave no choice: give 2 or more")
    if len(tokens) < _LEAST_TOKENS:
        raise TooFewTokens(f"{len(tokens)} tokens are no atoms: give more tokens, or fewer atoms")
    return Prepared(unit, rows, tokens, _first_picks(unit[tokens], unit[rows]))


def compare(a: Prepared, b: Prepared) -> float:
    """The measure of two prepared sites, by a's sources."""
    return float((a.picks == _first_picks(b.unit[a.tokens], b.unit[a.atoms])).double().mean())


def _unit(x: Any) -> torch.Tensor:
    return unit_rows(checked(x)).float()


def _first_picks(unit: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    return (unit @ atoms.T).abs_().argmax(1)
