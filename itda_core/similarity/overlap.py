"""Jaccard similarity of two dictionaries' sources, and of unions over layers."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from itda_core.common.keys import row_keys


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


def rows_of(wanted: Any, sources: Any) -> np.ndarray:
    """[m] int64: at which rows of sources [n, 2] the wanted ones [m, 2] are, in their order. All must be there."""
    keys = row_keys(sources)
    order = np.argsort(keys)
    return order[np.searchsorted(keys, row_keys(wanted), sorter=order)]


def overlap(keys_a: np.ndarray, keys_b: np.ndarray) -> float:
    """Intersection over union of two arrays of distinct numbers. Raises ValueError where both are empty."""
    shared = len(np.intersect1d(keys_a, keys_b, assume_unique=True))
    union = len(keys_a) + len(keys_b) - shared
    if union == 0:
        raise ValueError("both dictionaries are empty: lower the threshold")
    return shared / union
