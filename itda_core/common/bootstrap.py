"""How sure a figure is: 95 % intervals from drawing the documents anew, with replacement."""

from typing import NamedTuple

import numpy as np

_DRAWS = 2000
_DRAWN_AT_ONCE = 1 << 22  # documents, over all draws
_CONFIDENCE = 0.95
DEVIATIONS = 1.959964
"""Standard deviations to either side of the mean that hold 95 % of a normal distribution."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    """Its lower end."""
    high: float
    """Its upper end."""


def ratio_intervals(numerators: np.ndarray, denominators: np.ndarray, seed: int = 0) -> list[Interval | None]:
    """95 % percentile intervals of ratios of sums, when the documents are drawn anew, with replacement.

    All ratios are measured on the same draws. A draw whose denominator is not above 0 says nothing and is left out.

    Args:
        numerators: [documents, k] what each document adds to the numerator of each ratio.
        denominators: the same of the denominators.
        seed: of the draws.

    Returns:
        k intervals; None for a ratio of which no draw says anything.
    """
    return [interval_of(drawn) for drawn in drawn_ratios(numerators, denominators, seed).T]


def difference_intervals(
    numerators: np.ndarray, denominators: np.ndarray, of_others: np.ndarray, below_others: np.ndarray, seed: int = 0
) -> list[Interval | None]:
    """95 % percentile intervals of ratios less others, both of the same draws of documents.

    What makes a document hard for both is in both ratios, and so not in their difference, which is far surer.

    Args:
        numerators, denominators: [documents, k] of the ratios.
        of_others, below_others: [documents, k] numerators and denominators of the others.
        seed: of the draws.

    Returns:
        k intervals; None where no draw says anything of both.
    """
    k = numerators.shape[1]
    drawn = drawn_ratios(np.hstack([numerators, of_others]), np.hstack([denominators, below_others]), seed)
    return [interval_of(difference) for difference in (drawn[:, :k] - drawn[:, k:]).T]


def drawn_ratios(numerators: np.ndarray, denominators: np.ndarray, seed: int) -> np.ndarray:
    """[draws, k] ratios of sums over documents, [documents, k] each, as each draw of documents has them.

    NaN where a draw's denominator is not above 0.
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
    """The 95 % percentile interval of what [draws] draws gave, those that are NaN left out; None where all are."""
    told = drawn[~np.isnan(drawn)]
    if not len(told):
        return None
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(told, [tail, 1 - tail])
    return Interval(float(low), float(high))
