"""Correlation of errors over shared sources: which tokens two sites find hard when both explain them by the same places.

Dictionaries of two sites choose different sources, so their errors differ for that reason too. Here the sources that most
of the dictionaries chose are read in every site (as in transplanting), all other tokens are decomposed over them, and the
logarithms of the errors are correlated over the tokens. One encode for each site, whatever it is compared with.

Symmetric. Invariant to rotations, reflections and permutations of neurons, and to scaling; not to a shift of all
activations. Source: this project.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from itda_core.config import DictionarySettings
from itda_core.dictionary import Dictionary
from itda_core.similarity import errors
from itda_core.similarity.checks import TooFewTokens, check_pair, checked, unit_rows
from itda_core.similarity.sources import source_keys, sources_of

_LEAST = 1e-6  # relative error; what is less is rounding
_LEAST_TOKENS = 8  # that are no atoms


def shared_error_correlation(x: torch.Tensor, y: torch.Tensor, atoms: torch.Tensor, l0: int = 40) -> float:
    """Correlation of the tokens' log errors when both sites decompose them over the same sources, in [-1, 1].

    Args:
        x: [n, d1] float activations.
        y: [n, d2] float activations of the same tokens.
        atoms: [m] int: the rows that are the shared sources.
        l0: pursuit steps.

    Raises:
        ValueError: wrong shapes, an atom that is no row, fewer than 8 tokens that are no atoms, a value that is not
            finite, or constant or zero activations.
    """
    check_pair(x, y)
    return errors.compare(prepare(x, atoms, l0), prepare(y, atoms, l0))


def prepare(x: torch.Tensor, atoms: torch.Tensor, l0: int = 40) -> errors.Prepared:
    """What `errors.compare` needs of activations [n, d] and the shared sources' rows.

    Raises ValueError as `shared_error_correlation` does.
    """
    unit = unit_rows(checked(x)).float()
    rows = torch.unique(atoms.to(torch.int64))
    if rows.ndim != 1 or len(rows) == 0 or not 0 <= int(rows[0]) <= int(rows[-1]) < len(unit):
        raise ValueError(f"atoms are rows of the activations, whole numbers from 0 to {len(unit) - 1}")
    others = torch.ones(len(unit), dtype=torch.bool)
    others[rows] = False
    if int(others.sum()) < _LEAST_TOKENS:
        raise TooFewTokens(
            f"{int(others.sum())} tokens are left beside {len(rows)} atoms: give more tokens, or a higher threshold"
        )
    dictionary = Dictionary(unit[rows], torch.zeros(len(rows), 2), DictionarySettings(l0))
    rest = unit[others]
    left = rest - dictionary.decode(dictionary.encode(rest), len(rest))
    return errors.prepare(left.square().sum(1).clamp(min=_LEAST).log())


def shared_sources(dictionaries: Iterable[Any], n: int | None = None) -> np.ndarray:
    """[n, 2] int64: the sources that most dictionaries chose, those chosen equally often in the order of the text.

    Args:
        dictionaries: the sources of each, [m, 2] as `jaccard` takes them.
        n: how many sources; the mean size of the dictionaries unless given.

    Raises ValueError for no dictionaries or no sources.
    """
    keys = [source_keys(sources) for sources in dictionaries]
    votes = Counter(key for one in keys for key in one.tolist())
    if not votes:
        raise ValueError("no sources: give dictionaries that are not empty")
    wanted = round(sum(map(len, keys)) / len(keys)) if n is None else n
    chosen = sorted(votes, key=lambda key: (-votes[key], key))[: max(1, wanted)]
    return sources_of(np.array(sorted(chosen), dtype=np.int64))
