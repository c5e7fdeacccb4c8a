"""Similarity measures between sites, one per file.

Each file states the measure's source, direction and invariances. Larger is more similar for all of them. Names load
lazily, so that code that needs no torch does not import it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itda_core.similarity.canonical_correlation import svcca
    from itda_core.similarity.cka import linear_cka
    from itda_core.similarity.concordance import shared_concordance, shared_sources
    from itda_core.similarity.correlated_errors import error_correlation
    from itda_core.similarity.matching import LayerMatching, layer_matching, matched_layers
    from itda_core.similarity.nearest_neighbours import mutual_knn
    from itda_core.similarity.overlap import jaccard, union_jaccard
    from itda_core.similarity.regression import linear_regression
    from itda_core.similarity.relative import relative_representation
    from itda_core.similarity.transplanting import transplant

_HOMES = {
    "LayerMatching": "matching",
    "error_correlation": "correlated_errors",
    "jaccard": "overlap",
    "layer_matching": "matching",
    "linear_cka": "cka",
    "linear_regression": "regression",
    "matched_layers": "matching",
    "mutual_knn": "nearest_neighbours",
    "relative_representation": "relative",
    "shared_concordance": "concordance",
    "shared_sources": "concordance",
    "svcca": "canonical_correlation",
    "transplant": "transplanting",
    "union_jaccard": "overlap",
}

__all__ = [
    "LayerMatching",
    "error_correlation",
    "jaccard",
    "layer_matching",
    "linear_cka",
    "linear_regression",
    "matched_layers",
    "mutual_knn",
    "relative_representation",
    "shared_concordance",
    "shared_sources",
    "svcca",
    "transplant",
    "union_jaccard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
