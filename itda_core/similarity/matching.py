"""Layer-matching benchmark, with the accuracy of the ITDA paper.

Benchmark of Kornblith et al. 2019; accuracy of the ITDA paper, Eq. 9.

For two models that differ in their seed only, layer i of the one should be most similar to layer i of the other. The
accuracy of a measure is the share of layers for which this holds, over the ordered pairs of distinct models. (The
paper's sum includes the pairs of a model with itself, which every measure matches correctly.)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from itda_core.common.arguments import array_of

_RESAMPLES = 2_000
_LEVEL = 0.95
_LEAST_MODELS = 3
_SAME = 1e-9  # relative depths that differ by less are equal


@dataclass(frozen=True)
class LayerMatching:
    """Accuracy of a measure in finding the layer of the same depth."""

    accuracy: float
    """Share of layers whose best match is correct, in [0, 1]."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval over the models, which estimates variation over training seeds; None for fewer than
    three models."""
    n_pairs: int
    """Number of ordered pairs of distinct models."""


def layer_matching(similarities: Mapping[tuple[str, str], np.ndarray]) -> LayerMatching:
    """Return the accuracy over ordered pairs of distinct models, with its interval.

    The result is deterministic.

    Args:
        similarities: per ordered pair of models [layers of the first, layers of the second], larger is more similar.

    Raises:
        ValueError: no pairs, a pair of a model with itself, a value that is not a matrix, or a value that is not
            finite.
    """
    return mean_matching({pair: float(matched_layers(matrix).mean()) for pair, matrix in similarities.items()})


def mean_matching(shares: Mapping[tuple[str, str], float]) -> LayerMatching:
    """Return the mean share of matched layers over model pairs, with its interval.

    The mean is over ordered pairs of distinct models. Pairs that share a model are not independent, so models are
    resampled and not pairs: a pair is weighted by the product of the resampling counts of its two models (Snijders
    and Borgatti 1999, without pairs of a model with itself).

    Raises ValueError for no pairs, or a pair of a model with itself.
    """
    if not shares:
        raise ValueError("no pairs of models: give two models or more")
    for a, b in shares:
        if a == b:
            raise ValueError(f"{a} is compared with itself: give pairs of distinct models")
    values = np.array(list(shares.values()))
    models = sorted({model for pair in shares for model in pair})
    interval = None
    if len(models) >= _LEAST_MODELS:
        drawn = np.random.default_rng(0).multinomial(len(models), [1 / len(models)] * len(models), _RESAMPLES)
        first, second = (np.array([models.index(pair[side]) for pair in shares]) for side in (0, 1))
        weights = drawn[:, first] * drawn[:, second]
        weights = weights[weights.any(1)]
        tail = (1 - _LEVEL) / 2
        low, high = np.quantile(weights @ values / weights.sum(1), [tail, 1 - tail])
        interval = float(low), float(high)
    return LayerMatching(float(values.mean()), interval, len(values))


def matched_layers(similarity: np.ndarray) -> np.ndarray:
    """Return 1 or 0 per layer of A for a correct or incorrect best match in B.

    Shape [layers of A]. If several layers of B tie for best, the value is the share of them that is correct.

    Args:
        similarity: [layers of A, layers of B], larger is more similar.

    Raises ValueError for an argument that is not a matrix, or has a value that is not finite.
    """
    values = array_of(similarity, "similarity").astype(np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"similarities are finite numbers, layers by layers: got {list(values.shape)}")
    best = values == values.max(1, keepdims=True)
    return (best & same_depth(*values.shape)).sum(1) / best.sum(1)


def same_depth(n_a: int, n_b: int) -> np.ndarray:
    """Return the mask of B's layers nearest in relative depth to each layer of A.

    Bool, shape [n_a, n_b]. The depth of block i of n is (i + 1)/n, the share of the blocks that its output has
    passed; if two layers of B are equally near, both count. For models of equal depth it is the same layer.
    """
    depth_a, depth_b = (np.arange(1, n + 1) / n for n in (n_a, n_b))
    distance = np.abs(depth_a[:, None] - depth_b[None, :])
    return distance <= distance.min(1, keepdims=True) + _SAME


def both_ways(pairs: Mapping[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """Return a symmetric measure's matrices for both orders of each pair."""
    return {**pairs, **{(b, a): matrix.T for (a, b), matrix in pairs.items()}}
