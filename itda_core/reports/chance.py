"""Overlap that chance alone gives."""

import numpy as np
import pandas as pd


def chance(strata: pd.DataFrame, n_a: int, n_b: int) -> float:
    """The Jaccard similarity to expect of blind choices: with E|A∩B| = Σ |A||B|/N over the strata, E / (|A|+|B|−E).

    Args:
        strata: of the candidates, n (how many), a and b (how many of them A and B chose).
        n_a, n_b: atoms of A and of B, those included whose source is no candidate and so has no twin.
    """
    n, a, b = (strata[name].to_numpy(np.float64) for name in ("n", "a", "b"))
    shared = float((a * b / np.maximum(n, 1)).sum())  # where there are none, none were chosen
    return shared / max(n_a + n_b - shared, 1.0)
