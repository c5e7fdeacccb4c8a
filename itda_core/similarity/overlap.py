"""Jaccard similarity of two dictionaries' sources, and of unions over layers."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from itda_core.common.keys import row_keys


def jaccard(sources_a: Any, sources_b: Any) -> float:
    """Return the Jaccard similarity of two dictionaries' sources, in [0, 1].

    Shared sources over all sources; 1 for equal sets.

    Args:
        sources_a: [n, 2] integers, a tensor, an array or lists: document and position (or character) of each atom.
        sources_b: those of the other dictionary, on the same corpus.

    Raises:
        ValueError: not [n, 2], not integers, or below 0; or both are empty, for which the measure is undefined.
    """
    return overlap(source_keys(sources_a, "sources_a"), source_keys(sources_b, "sources_b"))


def union_jaccard(sources_a: Iterable[Any], sources_b: Iterable[Any]) -> float:
    """Return the Jaccard similarity of two models' unions of sources over layers.

    The ITDA paper, §5.2.

    Args:
        sources_a: per layer [n, 2], as `jaccard` takes them.
        sources_b: those of the other model; it may have another number of layers.

    Raises ValueError as `jaccard` does, and for a model without layers.
    """
    return overlap(union_keys(sources_a, "sources_a"), union_keys(sources_b, "sources_b"))


def union_keys(sources: Iterable[Any], name: str = "sources") -> np.ndarray:
    """Return the sorted keys of the distinct sources of all layers of a model.

    Int64, shape [m], one integer per source.

    Raises ValueError as `jaccard` does, and for no layers.
    """
    try:
        layers = [source_keys(layer, name) for layer in sources]
    except TypeError as error:
        raise ValueError(f"{name} are the sources of each layer: got {type(sources).__name__}") from error
    if not layers:
        raise ValueError(f"{name} has no layers: give the sources of one or more")
    return np.unique(np.concatenate(layers))


def source_keys(sources: Any, name: str = "sources") -> np.ndarray:
    """Return the sorted keys of the distinct sources.

    Int64, shape [m], one integer per source. Raises ValueError as `jaccard` does.
    """
    return np.unique(row_keys(sources, name))


def rows_of(wanted: Any, sources: Any) -> np.ndarray:
    """Return the row numbers of the wanted sources [m, 2] in sources [n, 2].

    Int64, shape [m], in the order of the wanted sources, all of which must be present.
    """
    keys = row_keys(sources)
    order = np.argsort(keys)
    return order[np.searchsorted(keys, row_keys(wanted), sorter=order)]


def overlap(keys_a: np.ndarray, keys_b: np.ndarray) -> float:
    """Return the intersection over union of two arrays of distinct keys.

    Raises ValueError if both are empty.
    """
    shared = len(np.intersect1d(keys_a, keys_b, assume_unique=True))
    union = len(keys_a) + len(keys_b) - shared
    if union == 0:
        raise ValueError("both dictionaries are empty: lower the threshold")
    return shared / union
