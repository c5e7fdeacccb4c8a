"""Jaccard index of two dictionaries' sources (the ITDA paper, Eq. 8), and of whole models (Eq. 10).

Symmetric. Nothing but the sources enters, so it is invariant to whatever leaves the build's choices alone: rotations,
reflections, permutations of neurons, and with a relative threshold isotropic scaling.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from itda_core.arguments import sources_array

_SHIFT = 32  # a document and a position as one number


def jaccard(sources_a: Any, sources_b: Any) -> float:
    """Shared sources over all sources, in [0, 1]; 1 for the same set.

    Args:
        sources_a: [n, 2] integers, a tensor, an array or lists: document and position (or character) of each atom.
        sources_b: those of the other dictionary, on the same corpus.

    Raises:
        ValueError: not [n, 2], not integers, or below 0; or both are empty, of which nothing can be said.
    """
    return overlap(source_keys(sources_a, "sources_a"), source_keys(sources_b, "sources_b"))


def union_jaccard(sources_a: Iterable[Any], sources_b: Iterable[Any]) -> float:
    """Jaccard index of two models: the sources of all their layers, each model's together (the paper, §5.2).

    Args:
        sources_a: per layer [n, 2], as `jaccard` takes them.
        sources_b: those of the other model; it may have another number of layers.

    Raises ValueError as `jaccard` does, and for a model without layers.
    """
    return overlap(union_keys(sources_a, "sources_a"), union_keys(sources_b, "sources_b"))


def union_keys(sources: Iterable[Any], name: str = "sources") -> np.ndarray:
    """[m] int64, a number for each distinct source of all layers of a model, sorted.

    Raises ValueError as `jaccard` does, and for no layers.
    """
    layers = [source_keys(layer, name) for layer in sources]
    if not layers:
        raise ValueError(f"{name} has no layers: give the sources of one or more")
    return np.unique(np.concatenate(layers))


def source_keys(sources: Any, name: str = "sources") -> np.ndarray:
    """[m] int64, a number for each distinct source, sorted. Raises ValueError as `jaccard` does."""
    return np.unique(row_keys(sources, name))


def row_keys(sources: Any, name: str = "sources") -> np.ndarray:
    """[n] int64, a number for the source of each row, in their order. Raises ValueError as `jaccard` does."""
    rows = sources_array(sources, name)
    if rows.size and (rows.min() < 0 or rows.max() >= 1 << _SHIFT - 1):
        raise ValueError(f"{name}: one is below 0 or too large: documents and positions count from 0")
    return rows[:, 0] << _SHIFT | rows[:, 1]


def rows_of(wanted: Any, sources: Any) -> np.ndarray:
    """[m] int64: at which rows of sources [n, 2] the wanted ones [m, 2] are, in their order. All must be there."""
    keys = row_keys(sources)
    order = np.argsort(keys)
    return order[np.searchsorted(keys, row_keys(wanted), sorter=order)]


def sources_of(keys: np.ndarray) -> np.ndarray:
    """[m, 2] int64 sources that numbers from `source_keys` stand for."""
    return np.stack([keys >> _SHIFT, keys & (1 << _SHIFT) - 1], axis=1)


def overlap(keys_a: np.ndarray, keys_b: np.ndarray) -> float:
    """Intersection over union of two arrays of distinct numbers. Raises ValueError where both are empty."""
    shared = len(np.intersect1d(keys_a, keys_b, assume_unique=True))
    union = len(keys_a) + len(keys_b) - shared
    if union == 0:
        raise ValueError("both dictionaries are empty: lower the threshold")
    return shared / union
