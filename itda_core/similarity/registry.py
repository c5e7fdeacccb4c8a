"""The measures on activations as a table, each in its two parts: prepare a site once, then compare it with many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from itda_core.similarity import canonical_correlation, cka, nearest_neighbours, regression, relative


@dataclass(frozen=True)
class Measure:
    """A measure of how alike two sites are."""

    name: str
    """The function's name in `itda_core.similarity`, and after it what is not its default."""
    prepare: Callable[[torch.Tensor], Any]
    """Takes a site's activations [n, d]; what it gives is all that `compare` needs of the site."""
    compare: Callable[[Any, Any], float]
    """Takes two prepared sites with the same tokens; larger is more alike."""
    symmetric: bool = True
    """Whether the order of the two does not matter."""


ACTIVATION_MEASURES = (
    Measure("linear_regression", regression.prepare, regression.compare, symmetric=False),
    Measure("svcca", canonical_correlation.prepare, canonical_correlation.compare),
    Measure(
        "svcca_directions",
        partial(canonical_correlation.prepare, directions=canonical_correlation.DIRECTIONS),
        canonical_correlation.compare,
    ),
    Measure("linear_cka", cka.prepare, cka.compare),
    Measure("linear_cka_debiased", cka.prepare_debiased, cka.compare_debiased),
    Measure("relative_representation", relative.prepare, relative.compare),
    Measure("mutual_knn", nearest_neighbours.prepare, nearest_neighbours.compare),
)
"""Those that compare activations, in the order of the ITDA paper's Table 1, and then the one that it left out; a second
form of a measure comes after the first."""


def layer_similarities(
    compare: Callable[[Any, Any], float], sites_a: Sequence[Any], sites_b: Sequence[Any]
) -> np.ndarray:
    """[layers of A, layers of B] float64: every layer of one model against every layer of another.

    Args:
        compare: a measure's.
        sites_a: prepared, one for each layer of A.
        sites_b: those of B.
    """
    return np.array([[compare(a, b) for b in sites_b] for a in sites_a], dtype=np.float64)
