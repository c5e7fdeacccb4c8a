"""Sources (document and position) encoded as single integer keys."""

from typing import Any

import numpy as np

from itda_core.common.arguments import sources_array

SHIFT = 32  # bits reserved for the position; the document is above them


def row_keys(sources: Any, name: str = "sources") -> np.ndarray:
    """Return [n] int64 keys of the sources, in the order of the rows.

    Raises ValueError for sources that are negative or too large, and in the cases of `sources_array`.
    """
    rows = sources_array(sources, name)
    if rows.size and (rows.min() < 0 or rows.max() >= 1 << SHIFT - 1):
        raise ValueError(f"{name}: one is below 0 or too large: documents and positions count from 0")
    return rows[:, 0] << SHIFT | rows[:, 1]


def sources_of(keys: np.ndarray) -> np.ndarray:
    """Decode keys of `row_keys` to [m, 2] int64 sources."""
    return np.stack([keys >> SHIFT, keys & (1 << SHIFT) - 1], axis=1)
