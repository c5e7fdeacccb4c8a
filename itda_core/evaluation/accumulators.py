"""Per-document sums over tokens, and the ratios and firing statistics from them.

Intervals estimate the variation over other documents of the same kind. A ratio of sums (all measures but two) has a
document-level bootstrap interval. The share of latents that never fire, and the density of firing, would be biased
upwards by the bootstrap, since a resample leaves out a third of the documents and every latent that fires only there;
these two have a jackknife interval, which leaves out one document at a time (Efron and Stein 1981).
"""

from typing import NamedTuple

import numpy as np

from itda_core.common.bootstrap import DEVIATIONS, ratio_intervals
from itda_core.common.types import Codes
from itda_core.reports.quality import Measured


class DocumentSums:
    """Sums of columns over the tokens of each document, in float64."""

    def __init__(self) -> None:
        self._documents: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []

    def add(self, documents: np.ndarray, values: np.ndarray) -> None:
        """Add tokens.

        Args:
            documents: [n] int64 document of each token.
            values: [n, k] values of each token.
        """
        found, row = np.unique(documents, return_inverse=True)
        sums = np.zeros((len(found), values.shape[1]))
        np.add.at(sums, row, values.astype(np.float64))
        self._documents.append(found)
        self._sums.append(sums)

    def over(self, documents: np.ndarray) -> np.ndarray:
        """Return the sums of the documents, in ascending order of document.

        Shape [documents, k]; 0 for documents of which nothing was added.

        Raises IndexError or KeyError if other documents were added, or nothing at all.
        """
        if not self._sums:
            raise KeyError("nothing was added")
        total = np.zeros((len(documents), self._sums[0].shape[1]))
        for here, sums in zip(self._documents, self._sums, strict=True):
            row = np.searchsorted(documents, here)
            if (documents[row] != here).any():
                raise KeyError("sums of documents that are not asked for")
            total[row] += sums
        return total

    def documents(self) -> np.ndarray:
        """Return the documents with added tokens, in ascending order.

        Int64, shape [documents].
        """
        return np.unique(np.concatenate(self._documents)) if self._documents else np.empty(0, np.int64)


def measured_ratios(numerators: np.ndarray, denominators: np.ndarray) -> list[Measured | None]:
    """Return ratios of sums over documents with their 95 % bootstrap intervals.

    None for a denominator that is not above 0.

    Args:
        numerators, denominators: [documents, k].
    """
    found: list[Measured | None] = []
    totals = zip(numerators.sum(0), denominators.sum(0), strict=True)
    for (above, below), interval in zip(totals, ratio_intervals(numerators, denominators), strict=True):
        found.append(Measured(float(above / below), *interval) if below > 0 and interval is not None else None)
    return found


class Fired(NamedTuple):
    """Firing statistics of latents over some tokens."""

    density: Measured | None
    """Geometric mean, over the latents that fire at all, of the share of tokens that a latent fires on. None if none
    fires, or if all of these fire in one document alone."""
    dead: Measured
    """Share of the latents that fire on none of the tokens."""


class Firing:
    """Number of tokens of each document on which each latent fires.

    Memory grows with the number of (document, latent) pairs in which the latent fires.
    """

    def __init__(self, latents: int) -> None:
        self._latents = latents
        self._pairs: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def add(self, documents: np.ndarray, codes: Codes) -> None:
        """Add the codes of tokens whose documents are `documents` [n] int64."""
        pairs, counts = np.unique(documents[codes.row] * self._latents + codes.atom, return_counts=True)
        self._pairs.append(pairs)
        self._counts.append(counts)

    def measure(self, documents: np.ndarray, tokens: np.ndarray) -> Fired:
        """Return the firing statistics with 95 % jackknife intervals.

        Args:
            documents: [documents] int64, ascending: all that were read, including those without a code.
            tokens: [documents] number of tokens of each.
        """
        pairs, at = np.unique(np.concatenate(self._pairs), return_inverse=True)
        count = np.bincount(at, np.concatenate(self._counts), len(pairs))  # per pair of document and latent
        row, latent = np.searchsorted(documents, pairs // self._latents), pairs % self._latents
        total = np.bincount(latent, count, self._latents)
        alive = np.count_nonzero(total)
        rest = total[latent] - count  # firings of the latent in other documents
        is_all = rest == 0
        alone = np.bincount(row[is_all], minlength=len(documents))  # latents that fire in this document alone
        dead = _jackknife(1 - alive / self._latents, 1 - (alive - alone) / self._latents)
        dead = Measured(dead.value, max(dead.low, 0.0), min(dead.high, 1.0))
        if not (alive - alone).all() or not alive:
            return Fired(None, dead)
        logs = np.log(total[total > 0]).sum()
        lost = np.bincount(row, np.log(np.where(is_all, 1, rest)) - np.log(total[latent]), len(documents))
        left_out = (logs + lost) / (alive - alone) - np.log(np.maximum(tokens.sum() - tokens, 1))
        log_density = _jackknife(logs / alive - np.log(tokens.sum()), left_out)
        return Fired(Measured(*np.minimum(np.exp(log_density), 1.0).tolist()), dead)


def _jackknife(value: float, left_out: np.ndarray) -> Measured:
    """Return a value with its jackknife interval from the leave-one-out values.

    For a single document both ends are the value itself.
    """
    n = len(left_out)
    error = np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    return Measured(float(value), float(value - DEVIATIONS * error), float(value + DEVIATIONS * error))
