"""Concordance of two sites that decompose the same tokens over shared sources.

Dictionaries of two sites choose different sources, and so differ by more than the sites do. Here the sources that
most of the dictionaries chose are taken in every site (as in transplanting), and all other tokens are decomposed over
them. Two quantities that are comparable between models then describe each token: its cosines with the sources, which
pursuit starts from, and the share of its norm that remains after pursuit. The measure is the product of the agreement
of two sites in the one and in the other, by Lin's concordance (Lin 1989, "A Concordance Correlation Coefficient to
Evaluate Reproducibility"), which is 1 for equal values only, whereas a correlation is 1 for any increasing linear
relation.

Each site is encoded once, whatever it is compared with. Symmetric. Invariant to rotations, reflections and
permutations of neurons, and to scaling, even of each activation separately; not to a shift of all activations.
Source: this project.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from itda_core.common.arguments import count
from itda_core.common.keys import sources_of
from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.dictionary import Dictionary
from itda_core.similarity.checks import (
    TooFewTokens,
    at_most_one,
    check_pair,
    checked,
    distinct_rows,
    rows_but,
    unit_rows,
)
from itda_core.similarity.overlap import source_keys

STEPS = 4
"""Pursuit steps: enough to distinguish tokens; with more, the residuals become less and less similar."""
_LEAST_TOKENS = 8  # minimum number of tokens that are not atoms
_CELLS = 1 << 22  # cosines of a site, 16 MB: many sites are held at once
_SPREAD = 1e-6  # standard deviation of values in [-1, 1]; with less they are equal up to rounding


class ConcordanceStats(NamedTuple):
    """Centred values, mean and variance for Lin's concordance."""

    centred: torch.Tensor
    """[values] float32: values minus their mean."""
    mean: float
    """Mean of the values."""
    variance: float
    """Variance of the values."""


class Prepared(NamedTuple):
    """One site's preprocessed activations: the tokens that are not atoms, in order."""

    cosines: ConcordanceStats
    """Cosines with the site's activations at the shared sources, flattened tokens × atoms; of evenly spaced tokens if
    there are many."""
    left: ConcordanceStats
    """Norm of the residual as a share of the activation's norm, one value per token."""


def shared_concordance(x: Any, y: Any, atoms: Any, steps: int = STEPS) -> float:
    """Return the agreement of two sites over the same sources, in [0, 1].

    Args:
        x: [n, d1] float activations.
        y: [n, d2] float activations of the same tokens.
        atoms: [m] int: the rows that are the shared sources; or a mask [n] of them.
        steps: pursuit steps.

    Raises:
        ValueError: wrong shapes, an atom that is not a row, fewer than 8 tokens that are not atoms, a value that is
            not finite, or constant or zero activations.
    """
    x, y = check_pair(x, y)
    return compare(prepare(x, atoms, steps), prepare(y, atoms, steps))


def prepare(x: Any, atoms: Any, steps: int = STEPS) -> Prepared:
    """Preprocess activations [n, d] and the shared sources' rows for `compare`.

    Raises ValueError as `shared_concordance` does.
    """
    unit = unit_rows(checked(x)).float()
    others = rows_but(len(unit), atoms)
    rows = distinct_rows(len(unit), atoms, "atoms")
    if len(rows) == 0:
        raise ValueError("no shared sources: give one atom or more")
    if int(others.sum()) < _LEAST_TOKENS:
        raise TooFewTokens(
            f"{int(others.sum())} tokens are left beside {len(rows)} atoms: give more tokens, or fewer atoms"
        )
    dictionary = Dictionary(unit[rows], torch.zeros(len(rows), 2), DictionarySettings(l0=count(steps, "steps")))
    rest = unit[others]
    left = (rest - dictionary.decode(dictionary.encode(rest), len(rest))).norm(dim=1)
    spread = rest[:: -(-rest.shape[0] * len(rows) // _CELLS)]
    found = Prepared(_stats(spread @ dictionary.atoms.T), _stats(left))
    if any(part.variance < _SPREAD**2 for part in found):
        raise TooFewTokens(
            "all tokens are alike in what the sources tell of them: give more tokens or other sources, or "
            "take out the mean of each site first"
        )
    return found


def compare(a: Prepared, b: Prepared) -> float:
    """Return the measure of two preprocessed sites.

    It is 0 if either concordance is not positive.
    """
    return max(0.0, _concordance(a.cosines, b.cosines)) * max(0.0, _concordance(a.left, b.left))


def shared_sources(dictionaries: Iterable[Any], n: int | None = None) -> np.ndarray:
    """Return the sources that most dictionaries chose, in corpus order.

    Int64, shape [n, 2].

    Args:
        dictionaries: the sources of each, [m, 2] as `jaccard` takes them.
        n: number of sources; by default half the dictionaries' mean size. Ties in the number of dictionaries are
            broken by order in the corpus.

    Raises ValueError for no dictionaries or no sources.
    """
    keys = [source_keys(sources) for sources in dictionaries]
    votes = Counter(key for one in keys for key in one.tolist())
    if not votes:
        raise ValueError("no sources: give dictionaries that are not empty")
    wanted = round(sum(map(len, keys)) / len(keys) / 2) if n is None else count(n, "n")
    chosen = sorted(votes, key=lambda key: (-votes[key], key))[: max(1, wanted)]
    return sources_of(np.array(sorted(chosen), dtype=np.int64))


def _stats(values: torch.Tensor) -> ConcordanceStats:
    mean = float(values.double().mean())
    centred = (values - mean).flatten()
    return ConcordanceStats(centred, mean, float(centred @ centred) / len(centred))


def _concordance(a: ConcordanceStats, b: ConcordanceStats) -> float:
    """Return Lin's concordance correlation coefficient.

    2 cov / (var + var + (difference of means)²).
    """
    shared = 2 * float(a.centred @ b.centred) / len(a.centred)
    return at_most_one(shared / (a.variance + b.variance + (a.mean - b.mean) ** 2))
