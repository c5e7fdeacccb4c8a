"""Bootstrap intervals of the overlap of two dictionaries."""

import numpy as np
import pandas as pd

from itda_core.common.bootstrap import Interval, ratio_intervals


def bootstrap(documents: pd.DataFrame, seed: int = 0) -> Interval:
    """95 % percentile interval of the Jaccard similarity when the documents are drawn anew, with replacement.

    It says how far the similarity depends on which documents were read; the two dictionaries stay as they are.

    Args:
        documents: both, a and b of each document: pairs with the same source, atoms of A alone, of B alone.
        seed: of the draws.
    """
    shared = documents[["both"]].to_numpy(np.float64)
    union = documents[["both", "a", "b"]].to_numpy(np.float64).sum(1, keepdims=True)
    (found,) = ratio_intervals(shared, union, seed)  # a draw without any atom says nothing
    return found or Interval(0.0, 0.0)
