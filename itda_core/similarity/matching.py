"""The layer-matching benchmark of Kornblith et al. 2019, as the ITDA paper scores it (Eq. 9).

Of two models that differ in their seed only, layer i of the one should be most like layer i of the other. The accuracy
of a measure is the share of layers for which it is, over the ordered pairs of distinct models. (The paper's sum takes
in the pairs of a model with itself, which every measure gets right.)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from itda_core.common.arguments import array_of

_RESAMPLES = 2_000
_LEVEL = 0.95
_LEAST_MODELS = 3
_SAME = 1e-9  # relative depths that differ by less are the same


@dataclass(frozen=True)
class LayerMatching:
    """How often a measure finds the layer of the same depth."""

    accuracy: float
    """Share of layers whose best match is right, in [0, 1]."""
    interval: tuple[float, float] | None
    """95 % bootstrap interval over the models, as if other seeds had been trained; None for fewer than three models."""
    n_pairs: int
    """Ordered pairs of distinct models."""


def layer_matching(similarities: Mapping[tuple[str, str], np.ndarray]) -> LayerMatching:
    """The accuracy over ordered pairs of distinct models, and its interval; the same at every call.

    Args:
        similarities: per ordered pair of models [layers of the first, layers of the second], larger is more alike.

    Raises:
        ValueError: no pairs, a pair of a model with itself, a matrix that is none, or a value that is not finite.
    """
    return mean_matching({pair: float(matched_layers(matrix).mean()) for pair, matrix in similarities.items()})


def mean_matching(shares: Mapping[tuple[str, str], float]) -> LayerMatching:
    """The mean over ordered pairs of distinct models of the share of layers that each pair matched, and its interval.

    Pairs that share a model say much the same, so models are drawn anew and not pairs: a pair counts as often as its
    two models together were drawn (Snijders and Borgatti 1999, without pairs of a model with itself).

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
    """[layers of A] whether each layer's best match in B is right: 1 or 0; of several that tie for best, their share.

    Args:
        similarity: [layers of A, layers of B], larger is more alike.

    Raises ValueError for what is no matrix, or has a value that is not finite.
    """
    values = array_of(similarity, "similarity").astype(np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"similarities are finite numbers, layers by layers: got {list(values.shape)}")
    best = values == values.max(1, keepdims=True)
    return (best & same_depth(*values.shape)).sum(1) / best.sum(1)


def same_depth(n_a: int, n_b: int) -> np.ndarray:
    """[n_a, n_b] bool: which layers of B lie nearest to each layer of A by relative depth.

    The depth of block i of n is (i + 1)/n, the share of the blocks that its output has passed; where two layers of B
    lie equally near, both count. For models of equal depth that is the same layer.
    """
    depth_a, depth_b = (np.arange(1, n + 1) / n for n in (n_a, n_b))
    distance = np.abs(depth_a[:, None] - depth_b[None, :])
    return distance <= distance.min(1, keepdims=True) + _SAME


def both_ways(pairs: Mapping[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """A symmetric measure's matrices for both orders of each pair, from those for one order."""
    return {**pairs, **{(b, a): matrix.T for (a, b), matrix in pairs.items()}}
