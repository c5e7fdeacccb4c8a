"""Match atoms of two dictionaries by the correlation of their coefficients.

For each atom, the atom of the other dictionary with the highest Pearson correlation of coefficients over the corpus.

This is the measure by which features of two models were first matched one to one (Li et al. 2015, arXiv 1511.07543),
and those of two sparse autoencoders (Bricken et al. 2023, "Towards Monosemanticity", where it is the correlation of
activations over the same tokens). An atom that does not fire on a token counts as 0 there. The sign matters: two
atoms that fire on the same tokens with opposite signs have opposite meanings.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numba.extending import register_jitable

from itda_core.pursuit.compiling import compiled
from itda_core.queries.pair_filters import LEAST_TOGETHER, MATCH_COLUMNS
from itda_core.queries.pair_tokens import Measures
from itda_core.queries.pairs import Pair

_CODES_HELD = 1 << 26  # of B in memory at once: 512 MB
_CODES_AT_ONCE = 1 << 22  # read from a file at once: 48 MB


class Sums(NamedTuple):
    """Per-atom sums of coefficients over the common tokens, for correlations.

    The fields are float64 arrays [n_atoms].
    """

    plain: np.ndarray
    """Sum of the coefficients."""
    square: np.ndarray
    """Sum of their squares."""
    absolute: np.ndarray
    """Sum of their absolute values."""

    @classmethod
    def zeros(cls, n_atoms: int) -> "Sums":
        """Return zero sums."""
        return cls(*(np.zeros(n_atoms) for _ in cls._fields))

    def add(self, atom: np.ndarray, coefficient: np.ndarray, first: int = 0) -> None:
        """Add codes of atoms numbered from `first`."""
        for start in range(0, len(atom), _CODES_AT_ONCE):
            part = slice(start, start + _CODES_AT_ONCE)
            weights = coefficient[part].astype(np.float64)
            for total, values in zip(self, (weights, weights * weights, np.abs(weights)), strict=True):
                found = np.bincount(atom[part], weights=values)
                total[first : first + len(found)] += found


class _Best(NamedTuple):
    """Best match found so far for each atom of a side: [n_atoms] arrays."""

    other: np.ndarray
    correlation: np.ndarray
    together: np.ndarray

    @classmethod
    def none(cls, n_atoms: int) -> "_Best":
        return cls(np.full(n_atoms, -1, np.int32), np.full(n_atoms, -2.0), np.zeros(n_atoms, np.int32))

    def frame(self, sums: Sums) -> pd.DataFrame:
        """Return the matches as a table of MATCH_COLUMNS."""
        has_none = self.other < 0
        columns = {
            "atom": np.arange(len(self.other), dtype=np.int32),
            "other": pd.array(self.other, dtype="Int32"),
            "correlation": pd.array(self.correlation.astype(np.float32), dtype="Float32"),
            "together": pd.array(self.together, dtype="Int32"),
            "weight": sums.absolute / max(sums.absolute.sum(), np.finfo(np.float64).tiny),
        }
        found = pd.DataFrame(columns, columns=list(MATCH_COLUMNS))
        found.loc[has_none, ["other", "correlation", "together"]] = pd.NA
        return found


def best_matches(pair: Pair, progress: Callable[[int], None], held: int = _CODES_HELD) -> Measures:
    """Return each atom's most correlated atom of the other dictionary.

    Memory is bounded: the codes of B are loaded for one range of its atoms at a time, as many as fit, and all codes
    of A are streamed once per range.

    Args:
        pair: the two indexes.
        progress: called with the number of A's codes streamed so far, `passes` times all of them in the end.
        held: maximum number of B's codes in memory.
    """
    common_a, common_b = pair.common_tokens()
    place_a, place_b = _places(common_a), _places(common_b)
    fires_a, fires_b = pair.fires("a"), pair.fires("b")
    sums_a, sums_b = Sums.zeros(len(fires_a)), Sums.zeros(len(fires_b))
    best_a, best_b = _Best.none(len(fires_a)), _Best.none(len(fires_b))
    passed = 0
    for first, stop in _ranges(fires_b, held):
        starts, other, weight = _held(pair, first, stop, place_b, len(common_b), int(fires_b[first:stop].sum()))
        sums_b.add(other, weight, first)
        for begin, atom, token, coefficient in _parts(pair, "a", fires_a, place_a):
            if first == 0:
                sums_a.add(atom, coefficient)
            bounds = np.searchsorted(atom, np.arange(begin.start, begin.stop + 1))
            _match(
                begin.start,
                bounds,
                token,
                coefficient,
                starts,
                other,
                weight,
                first,
                stop - first,
                float(len(common_a)),
                sums_a.plain,
                sums_a.square,
                sums_b.plain,
                sums_b.square,
                LEAST_TOGETHER,
                *best_a,
                *best_b,
            )
            passed += int(fires_a[begin.start : begin.stop].sum())
            progress(passed)
    return Measures(best_a.frame(sums_a), best_b.frame(sums_b))


def passes(pair: Pair, held: int = _CODES_HELD) -> int:
    """Return the number of passes over A's codes."""
    return len(list(_ranges(pair.fires("b"), held)))


def _places(common: np.ndarray) -> np.ndarray:
    """Return a map from token ordinal to index among the common tokens, or −1."""
    places = np.full(int(common.max(initial=-1)) + 1, -1, np.int32)
    places[common] = np.arange(len(common), dtype=np.int32)
    return places


def _common(tokens: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of common tokens, and the indices of those."""
    is_common = tokens < len(places)
    is_common[is_common] = places[tokens[is_common]] >= 0
    return is_common, places[tokens[is_common]]


def _ranges(fires: np.ndarray, codes: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of atoms with at most `codes` codes each, or a single atom."""
    first = 0
    ends = np.cumsum(fires)
    while first < len(fires):
        before = ends[first - 1] if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, before + codes, side="right")))
        yield first, stop
        first = stop


def _parts(
    pair: Pair, side: str, fires: np.ndarray, places: np.ndarray
) -> Iterator[tuple[range, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield all codes on common tokens, in ranges of atoms.

    Each item has the range of atoms, then atom, common-token index and coefficient of each code.
    """
    for first, stop in _ranges(fires, _CODES_AT_ONCE):
        atom, token, coefficient = pair.codes_of_atoms(side, first, stop)
        is_common, place = _common(token, places)
        yield range(first, stop), atom[is_common], place, coefficient[is_common]


def _held(
    pair: Pair, first: int, stop: int, places: np.ndarray, n_common: int, n_codes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return B's codes of a range of atoms, grouped by common token.

    The offsets of the tokens [n_common + 1], the atoms numbered from `first`, and the coefficients.
    """
    starts = np.zeros(n_common + 1, np.int64)
    other, weight = np.empty(n_codes, np.int32), np.empty(n_codes, np.float32)
    at = 0
    span = max(1, _CODES_AT_ONCE * len(places) // max(1, n_codes))
    for token in range(0, len(places), span):
        tokens, atom, coefficient = pair.codes_of_tokens("b", (token, token + span), (first, stop))
        is_common, kept = _common(tokens, places)  # ascending, since common tokens are in B's order
        end = at + len(kept)
        other[at:end], weight[at:end] = atom[is_common] - first, coefficient[is_common]
        starts[1:] += np.bincount(kept, minlength=n_common)
        at = end
    return np.cumsum(starts), other[:at], weight[:at]


@register_jitable
def correlation(n, product, plain_a, square_a, plain_b, square_b):
    """Compute the Pearson correlation from sums over n tokens.

    The sums are of products, and of values and squares on either side: numbers, or arrays of them; neither side may
    be constant over all tokens.
    """
    spread_a = n * square_a - plain_a * plain_a
    spread_b = n * square_b - plain_b * plain_b
    return (n * product - plain_a * plain_b) / np.sqrt(spread_a * spread_b)


@compiled()
def _match(
    first_a,
    bounds,
    token,
    coefficient,
    starts,
    other,
    weight,
    first_b,
    width,
    n,
    plain_a,
    square_a,
    plain_b,
    square_b,
    least,
    other_a,
    correlation_a,
    together_a,
    other_b,
    correlation_b,
    together_b,
):
    """Correlate atoms of A with the atoms of B that are in memory.

    The codes of A's atoms are delimited by consecutive `bounds`.
    """
    product = np.zeros(width)
    together = np.zeros(width, np.int32)
    for row in range(len(bounds) - 1):
        a = first_a + row
        for at in range(bounds[row], bounds[row + 1]):
            x = np.float64(coefficient[at])
            for code in range(starts[token[at]], starts[token[at] + 1]):
                product[other[code]] += x * weight[code]
                together[other[code]] += 1
        spread_a = n * square_a[a] - plain_a[a] * plain_a[a]
        for column in range(width):
            if together[column] >= least:
                b = first_b + column
                spread_b = n * square_b[b] - plain_b[b] * plain_b[b]
                if spread_a > 0 and spread_b > 0:
                    r = correlation(n, product[column], plain_a[a], square_a[a], plain_b[b], square_b[b])
                    if r > correlation_a[a]:
                        other_a[a], correlation_a[a], together_a[a] = b, r, together[column]
                    if r > correlation_b[b]:
                        other_b[b], correlation_b[b], together_b[b] = a, r, together[column]
            product[column] = 0.0
            together[column] = 0
