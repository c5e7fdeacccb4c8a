"""Registry of the measures on activations.

Each measure is split in two functions, so that a site is preprocessed once and then compared with many others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from itda_core.similarity import canonical_correlation, cka, nearest_neighbours, regression, relative


@dataclass(frozen=True)
class Measure:
    """A similarity measure between two sites."""

    name: str
    """The function's name in `itda_core.similarity`, with a suffix for non-default options."""
    prepare: Callable[[torch.Tensor], Any]
    """Takes a site's activations [n, d] and returns everything that `compare` needs of the site."""
    compare: Callable[[Any, Any], float]
    """Takes two preprocessed sites with the same tokens; larger is more similar."""
    symmetric: bool = True
    """Whether the order of the two sites does not matter."""


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
"""Measures on activations, in the order of the ITDA paper's Table 1, followed by the one that it left out; a variant
of a measure follows the measure."""


def layer_similarities(
    compare: Callable[[Any, Any], float], sites_a: Sequence[Any], sites_b: Sequence[Any]
) -> np.ndarray:
    """Return the similarity of every layer of A with every layer of B.

    Float64, shape [layers of A, layers of B].

    Args:
        compare: a measure's comparison function.
        sites_a: preprocessed sites, one for each layer of A.
        sites_b: those of B.
    """
    return np.array([[compare(a, b) for b in sites_b] for a in sites_a], dtype=np.float64)
