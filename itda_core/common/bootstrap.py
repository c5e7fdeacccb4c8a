"""Document-level bootstrap: 95 % percentile intervals."""

from typing import NamedTuple

import numpy as np

_DRAWS = 2000
_DRAWN_AT_ONCE = 1 << 22  # documents times draws per block
_CONFIDENCE = 0.95
DEVIATIONS = 1.959964
"""Half-width of the central 95 % interval of a normal distribution, in standard deviations."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    """Its lower bound."""
    high: float
    """Its upper bound."""


def ratio_intervals(numerators: np.ndarray, denominators: np.ndarray, seed: int = 0) -> list[Interval | None]:
    """Return 95 % percentile bootstrap intervals of ratios of sums over documents.

    Documents are resampled with replacement. All ratios use the same resamples. A resample whose denominator is not
    above 0 is left out.

    Args:
        numerators: [documents, k] contribution of each document to the numerator of each ratio.
        denominators: [documents, k] the same for the denominators.
        seed: seed of the resampling.

    Returns:
        k intervals; None for a ratio without a usable resample.
    """
    return [interval_of(drawn) for drawn in drawn_ratios(numerators, denominators, seed).T]


def difference_intervals(
    numerators: np.ndarray, denominators: np.ndarray, of_others: np.ndarray, below_others: np.ndarray, seed: int = 0
) -> list[Interval | None]:
    """Return 95 % percentile bootstrap intervals of differences of paired ratios.

    Both ratios use the same resamples of the documents. A document that is difficult for both affects both ratios, so
    the effect cancels in the difference, whose interval is much narrower.

    Args:
        numerators, denominators: [documents, k] of the ratios.
        of_others, below_others: [documents, k] numerators and denominators of the ratios that are subtracted.
        seed: seed of the resampling.

    Returns:
        k intervals; None if no resample is usable for both ratios.
    """
    k = numerators.shape[1]
    drawn = drawn_ratios(np.hstack([numerators, of_others]), np.hstack([denominators, below_others]), seed)
    return [interval_of(difference) for difference in (drawn[:, :k] - drawn[:, k:]).T]


def drawn_ratios(numerators: np.ndarray, denominators: np.ndarray, seed: int) -> np.ndarray:
    """Return [draws, k] bootstrap ratios of sums over documents, [documents, k] each.

    NaN where the denominator of a resample is not above 0.
    """
    random = np.random.default_rng(seed)
    n, k = numerators.shape
    if n == 0:
        return np.empty((0, k))
    found = []
    at_once = max(1, _DRAWN_AT_ONCE // n)
    for first in range(0, _DRAWS, at_once):
        times = random.multinomial(n, np.full(n, 1 / n), size=min(at_once, _DRAWS - first)).astype(np.float64)
        drawn = times @ denominators
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.where(drawn > 0, times @ numerators / drawn, np.nan))
    return np.concatenate(found)


def interval_of(drawn: np.ndarray) -> Interval | None:
    """Return the 95 % percentile interval of [draws] values, NaN left out.

    None if all values are NaN.
    """
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return None
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high))
