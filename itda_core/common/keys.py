"""Sources, document and position, as single integer keys."""

from typing import Any

import numpy as np

from itda_core.common.arguments import sources_array

SHIFT = 32  # a document and a position as one number


def row_keys(sources: Any, name: str = "sources") -> np.ndarray:
    """[n] int64, a number for the source of each row, in their order. Raises ValueError as `jaccard` does."""
    rows = sources_array(sources, name)
    if rows.size and (rows.min() < 0 or rows.max() >= 1 << SHIFT - 1):
        raise ValueError(f"{name}: one is below 0 or too large: documents and positions count from 0")
    return rows[:, 0] << SHIFT | rows[:, 1]


def sources_of(keys: np.ndarray) -> np.ndarray:
    """[m, 2] int64 sources that numbers from `source_keys` stand for."""
    return np.stack([keys >> SHIFT, keys & (1 << SHIFT) - 1], axis=1)
