"""Source overlap of two dictionaries that is expected by chance."""

import numpy as np
import pandas as pd


def chance(strata: pd.DataFrame, n_a: int, n_b: int) -> float:
    """Return the expected Jaccard similarity of random choices of sources.

    With E = E|A∩B| = Σ |A||B|/N over the strata, it is E / (|A|+|B|−E).

    Args:
        strata: one row per stratum of the candidates: n (number of candidates), a and b (number of them that A and B
            chose).
        n_a, n_b: number of atoms of A and of B, including those whose source is not a candidate and so has no twin.
    """
    n, a, b = (strata[name].to_numpy(np.float64) for name in ("n", "a", "b"))
    shared = float((a * b / np.maximum(n, 1)).sum())  # a stratum without candidates has no chosen ones
    return shared / max(n_a + n_b - shared, 1.0)
