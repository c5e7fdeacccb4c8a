"""Re-embed A's atoms in B at their sources, and measure their agreement."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from itda_core.capture.replay import ActivationSource
from itda_core.common.errors import UserError
from itda_core.common.keys import sources_of
from itda_core.common.settings import DictionarySettings
from itda_core.comparison.matching import Sums, correlation
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import relative_errors
from itda_core.dictionary.mean import MeanSums, centered
from itda_core.queries.pair_tokens import CommonPlaces
from itda_core.queries.pairs import Pair
from itda_core.reports.transplant import CONTEXTS
from itda_core.similarity.checks import unit_rows

_GAP = 1024  # tokens of A that B did not capture: longer runs of them are not read from A's index
_EMPTY = -np.inf


class TransplantResult(NamedTuple):
    """Result of transplanting A's atoms to B."""

    atoms: pd.DataFrame
    """One row per atom of A, in order: the columns of `ATOM_COLUMNS`."""
    contexts: pd.DataFrame
    """Strongest contexts of the transplanted atoms: the columns of `CONTEXT_COLUMNS`, by atom and rank."""
    tokens: int
    """Number of tokens that both models captured."""
    relative_error: float | None
    """Mean of |y − ŷ|² / |y|² over the tokens that are not at sources, decomposed with the transplanted atoms; None if
    all are at sources."""


class _Strongest:
    """Largest coefficients of each atom so far.

    Arrays [n_atoms, CONTEXTS], in descending order in each row.
    """

    def __init__(self, n_atoms: int) -> None:
        self.coefficient = np.full((n_atoms, CONTEXTS), _EMPTY, np.float32)
        self.token = np.zeros((n_atoms, CONTEXTS), np.int32)

    def add(self, atom: np.ndarray, token: np.ndarray, coefficient: np.ndarray) -> None:
        """Add codes of tokens later than those before.

        Of equal coefficients the earlier token is kept.
        """
        is_larger = coefficient > self.coefficient[atom, -1]
        changed = np.unique(atom[is_larger])
        atoms = np.concatenate([np.repeat(changed, CONTEXTS), atom[is_larger]])
        coefficients = np.concatenate([self.coefficient[changed].ravel(), coefficient[is_larger]])
        tokens = np.concatenate([self.token[changed].ravel(), token[is_larger]])
        order = np.lexsort((-coefficients, atoms))  # stable: earlier entries precede equal later ones
        first = np.searchsorted(atoms[order], changed)  # every changed atom has at least CONTEXTS entries
        kept = order[first[:, None] + np.arange(CONTEXTS)]
        self.coefficient[changed], self.token[changed] = coefficients[kept], tokens[kept]

    def frame(self) -> pd.DataFrame:
        """Return all entries as a table of CONTEXT_COLUMNS."""
        atom, rank = np.nonzero(self.coefficient > _EMPTY)
        return pd.DataFrame(
            {
                "atom": atom.astype(np.int32),
                "rank": rank.astype(np.int32),
                "token": self.token[atom, rank],
                "coefficient": self.coefficient[atom, rank],
            }
        )


class _Agreement:
    """Agreement of two sets of codes of the same atoms, summed over tokens.

    Arrays [n_atoms]; sources are left out.
    """

    def __init__(self, n_atoms: int) -> None:
        self._n = n_atoms
        self.a, self.b = Sums.zeros(n_atoms), Sums.zeros(n_atoms)
        self.product = np.zeros(n_atoms)
        self.together, self.fires_a, self.fires_b = (np.zeros(n_atoms, np.int64) for _ in range(3))
        self.strongest = np.zeros(n_atoms, np.float32)

    def add(self, a: "_Codes", b: "_Codes") -> None:
        """Add the codes of some tokens, with the same row numbers on both sides."""
        self.a.add(a.atom, a.coefficient)
        self.b.add(b.atom, b.coefficient)
        self.fires_a += np.bincount(a.atom, minlength=self._n)
        self.fires_b += np.bincount(b.atom, minlength=self._n)
        np.maximum.at(self.strongest, b.atom, np.abs(b.coefficient))
        keys = (each.row.astype(np.int64) * self._n + each.atom for each in (a, b))
        _, of_a, of_b = np.intersect1d(*keys, assume_unique=True, return_indices=True)
        both = a.atom[of_a]
        weight = a.coefficient[of_a].astype(np.float64) * b.coefficient[of_b]
        self.product += np.bincount(both, weights=weight, minlength=self._n)
        self.together += np.bincount(both, minlength=self._n)

    def correlations(self, n: int) -> np.ndarray:
        """Return the Pearson correlations over n tokens.

        Shape [n_atoms]; NaN for an atom with the same coefficient on all of them.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            found = correlation(float(n), self.product, self.a.plain, self.a.square, self.b.plain, self.b.square)
        return np.clip(np.where(np.isfinite(found), found, np.nan), -1, 1)


class _Codes(NamedTuple):
    row: np.ndarray
    atom: np.ndarray
    coefficient: np.ndarray

    def where(self, kept: np.ndarray) -> "_Codes":
        return _Codes(*(column[kept] for column in self))


def carry(
    pair: Pair,
    read: ActivationSource,
    settings: DictionarySettings,
    advance: Callable[[str, int, int], None],
    mean: torch.Tensor | None = None,
) -> TransplantResult:
    """Transplant A's atoms to B.

    If A is centred, so is the transplanted dictionary, by B's own mean.

    Args:
        pair: the two indexes.
        read: source of B's activations.
        settings: A's settings, whose L0, method and centring decompose B's tokens.
        advance: called for tokens averaged for a `mean`, `sources` read and `tokens` encoded: the name, the number of
            new items, and their total number.
        mean: [d_model] mean of B's activations, if B's dictionary has one; otherwise, if A is centred, that of the
            tokens that both captured is computed, for which they are read once more.

    Raises:
        UserError: no source of A was captured by B, `read` does not return all requested activations, or a value is
            not finite.
    """
    places = pair.common_places()
    n_atoms = len(pair.fires("a"))
    own = np.full(n_atoms, -1, np.int64)  # index of each atom's source among the common tokens
    has_atom = np.flatnonzero(places.atom >= 0)
    own[places.atom[has_atom]] = has_atom
    if not len(has_atom):
        raise UserError("B captured none of A's sources: build a dictionary of B from the same tokens")
    if settings.center == "none":
        mean = None
    elif mean is None:
        mean = _mean(places, read, advance)
    dictionary, numbers = _transplanted(places, read, settings, mean, own, advance)
    own[np.setdiff1d(np.arange(n_atoms), numbers)] = -1
    agreement, strongest = _Agreement(n_atoms), _Strongest(n_atoms)
    seen, error, measured = 0, 0.0, 0
    for index, x in read(places.key):
        y = x.to(torch.float32)
        try:
            codes = dictionary.encode(y)
        except ValueError as refused:  # a value that is not finite
            raise UserError(f"B's activations cannot be decomposed: {refused}") from refused
        is_other = places.atom[index] < 0
        errors = relative_errors(y, dictionary.decode(codes, len(y))).numpy()[is_other]
        error, measured = error + float(errors.sum(dtype=np.float64)), measured + len(errors)
        of_b = _Codes(codes.row, numbers[codes.atom], codes.coefficient)
        of_b = of_b.where(own[of_b.atom] != index[of_b.row])
        of_a = _codes_of_a(pair, places.token_a[index], n_atoms)
        of_a = of_a.where((own[of_a.atom] >= 0) & (own[of_a.atom] != index[of_a.row]))
        agreement.add(of_a, of_b)
        strongest.add(of_b.atom, places.token_b[index][of_b.row], of_b.coefficient)
        seen += len(index)
        advance("tokens", len(index), len(places.key))
    _check_all(seen, len(places.key))
    return TransplantResult(
        _atoms(own, places, agreement), strongest.frame(), len(places.key), error / measured if measured else None
    )


def _mean(places: CommonPlaces, read: ActivationSource, advance: Callable[[str, int, int], None]) -> torch.Tensor:
    """Return the mean [d_model] of B's activations at the tokens that both captured."""
    sums = MeanSums()
    for index, x in read(places.key):
        try:
            sums.add(x)
        except ValueError as refused:  # a value that is not finite
            raise UserError(f"B's activations cannot be averaged: {refused}") from refused
        advance("mean", len(index), len(places.key))
    return sums.mean()


def _transplanted(
    places: CommonPlaces,
    read: ActivationSource,
    settings: DictionarySettings,
    mean: torch.Tensor | None,
    own: np.ndarray,
    advance: Callable[[str, int, int], None],
) -> tuple[Dictionary, np.ndarray]:
    """Return B's dictionary of A's sources in A's order, and the atoms' numbers in A."""
    numbers = np.flatnonzero(own >= 0)
    at_sources = np.sort(own[numbers])
    atoms, seen = torch.empty(0), 0
    for index, x in read(places.key[at_sources]):
        if not seen:
            atoms = torch.empty(len(at_sources), x.shape[1])
        atoms[torch.from_numpy(index)] = x.to(torch.float32)
        seen += len(index)
        advance("sources", len(index), len(at_sources))
    _check_all(seen, len(at_sources))
    order = torch.from_numpy(np.searchsorted(at_sources, own[numbers]))
    atoms = atoms[order]
    if not torch.isfinite(atoms).all():
        raise UserError("B has an activation at one of A's sources that is not finite: build with another --dtype")
    if mean is not None:
        atoms = centered(atoms, mean)
    has_direction = atoms.norm(dim=1) > 0  # a zero row is not an atom
    numbers = numbers[has_direction.numpy()]
    sources = torch.from_numpy(sources_of(places.key[own[numbers]]))
    return Dictionary(unit_rows(atoms[has_direction]), sources, settings, mean=mean), numbers


def _codes_of_a(pair: Pair, tokens: np.ndarray, n_atoms: int) -> _Codes:
    """Return A's codes on some of its tokens, with rows as indices into `tokens`."""
    order = np.argsort(tokens, kind="stable")
    rising = tokens[order]
    parts = []
    for run in np.split(rising, np.flatnonzero(np.diff(rising) > _GAP) + 1):
        token, atom, coefficient = pair.codes_of_tokens("a", (int(run[0]), int(run[-1]) + 1), (0, n_atoms))
        at = np.searchsorted(rising, token)
        is_common = rising[np.minimum(at, len(rising) - 1)] == token
        parts.append((order[at[is_common]], atom[is_common], coefficient[is_common]))
    return _Codes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _atoms(own: np.ndarray, places: CommonPlaces, agreement: _Agreement) -> pd.DataFrame:
    """Return all atoms of A as a table of ATOM_COLUMNS."""
    has_none = own < 0
    correlations = agreement.correlations(len(places.key) - 1)
    columns = {
        "token": pd.array(places.token_b[np.maximum(own, 0)], dtype="Int32"),
        "fires": pd.array(agreement.fires_b.astype(np.int32), dtype="Int32"),
        "fires_a": pd.array(agreement.fires_a.astype(np.int32), dtype="Int32"),
        "together": pd.array(agreement.together.astype(np.int32), dtype="Int32"),
        "strongest": pd.array(agreement.strongest, dtype="Float32"),
    }
    for column in columns.values():
        column[has_none] = pd.NA
    columns["correlation"] = pd.array([None if np.isnan(r) else r for r in correlations], dtype="Float32")
    columns["correlation"][has_none] = pd.NA
    return pd.DataFrame({"atom": np.arange(len(own), dtype=np.int32), **columns})


def _check_all(seen: int, wanted: int) -> None:
    if seen != wanted:
        raise UserError(
            f"B gave {seen:,} activations where {wanted:,} were asked for: its corpus or what was kept of it has "
            "changed; build its dictionary again"
        )
