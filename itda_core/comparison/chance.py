"""Bootstrap intervals of the overlap of two dictionaries."""

import numpy as np
import pandas as pd

from itda_core.common.bootstrap import Interval, ratio_intervals


def bootstrap(documents: pd.DataFrame, seed: int = 0) -> Interval:
    """Return the document-level bootstrap interval of the Jaccard similarity.

    95 % percentile interval over documents resampled with replacement. It measures how far the similarity depends on
    which documents were read; the two dictionaries are fixed.

    Args:
        documents: counts both, a and b of each document: pairs with the same source, atoms of A alone, of B alone.
        seed: seed of the resampling.
    """
    shared = documents[["both"]].to_numpy(np.float64)
    union = documents[["both", "a", "b"]].to_numpy(np.float64).sum(1, keepdims=True)
    (found,) = ratio_intervals(shared, union, seed)  # a resample without any atom gives no value
    return found or Interval(0.0, 0.0)
