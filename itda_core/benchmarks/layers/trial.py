"""Trial of `itda bench layers`: every measure on the same tokens and models."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from itda_core.benchmarks.layers.results import Accuracy, Cost, LayersBench
from itda_core.benchmarks.layers.sites import SiteDictionary, build_sites, own_errors
from itda_core.benchmarks.pursuit.memory import peak_bytes, restart_peak
from itda_core.capture.layers import LayerActivations
from itda_core.similarity import concordance, correlated_errors, transplanting
from itda_core.similarity.checks import TooFewTokens
from itda_core.similarity.concordance import shared_sources
from itda_core.similarity.matching import both_ways, matched_layers, mean_matching
from itda_core.similarity.overlap import overlap, rows_of, source_keys
from itda_core.similarity.registry import ACTIVATION_MEASURES, layer_similarities

Pair = tuple[str, str]
"""Names of two models."""


@dataclass(frozen=True)
class _Contest:
    """A measure in a trial: its preprocessed sites and comparison function."""

    sites: dict[str, list[Any]]
    compare: Callable[[Any, Any], float]
    symmetric: bool
    seconds: float
    peak_mb: float | None


@dataclass(frozen=True)
class Matched:
    """Layer-matching results of a trial."""

    tokens: int
    """Number of tokens of each model."""
    threshold: float
    """Relative error threshold of the first model's dictionaries."""
    atoms: dict[str, float]
    """Mean size of its dictionaries, by model."""
    shares: dict[str, dict[Pair, float]]
    """Share of layers whose best match was correct, by measure and ordered pair."""
    left_out: dict[str, str]
    """Reason for missing shares, by measure."""


def mean_accuracy(draws: Sequence[Matched]) -> Accuracy:
    """Return the mean accuracy over draws of the same number of tokens.

    A measure left out in one of the draws is left out.
    """
    left_out = {name: reason for draw in draws for name, reason in draw.left_out.items()}
    accuracy, interval = {}, {}
    for name, pairs in draws[0].shares.items():
        if name not in left_out:
            found = mean_matching({pair: float(np.mean([draw.shares[name][pair] for draw in draws])) for pair in pairs})
            accuracy[name], interval[name] = found.accuracy, found.interval
    atoms = {name: float(np.mean([draw.atoms[name] for draw in draws])) for name in draws[0].atoms}
    first = draws[0]
    return Accuracy(first.tokens, len(draws), first.threshold, atoms, accuracy, interval, left_out)


class Trial:
    """Every measure on the same tokens of several models.

    Each site is preprocessed once.

    Attributes:
        dictionaries: by model, the dictionary of each layer.
        costs: by measure, its cost; comparison is timed by the first `accuracy`.
    """

    def __init__(
        self,
        models: Mapping[str, LayerActivations],
        thresholds: float | Mapping[str, float],
        settings: LayersBench,
        with_activations: bool = True,
    ) -> None:
        """Build the dictionaries and preprocess the sites.

        Args:
            models: activations of the same tokens.
            thresholds: relative error above which an activation becomes an atom, for all models or by model.
            settings: pursuit steps and the tokens for transplanting.
            with_activations: whether to include the measures that need no dictionary.

        Raises UserError if a layer's dictionary has fewer than two atoms.
        """
        self._models, self._settings = models, settings
        self._thresholds = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(models, thresholds)
        self.costs: dict[str, Cost] = {}
        self._contests: dict[str, _Contest] = {}
        self._left_out: dict[str, str] = {}
        self._matrices: dict[tuple[str, str, str], np.ndarray] = {}  # cached comparisons, shared by all accuracies
        if with_activations:
            for measure in ACTIVATION_MEASURES:
                self._enter(
                    measure.name, lambda m=measure: self._each_layer(m.prepare), measure.compare, measure.symmetric
                )
        built = time.perf_counter()
        self.dictionaries = {
            name: build_sites(model, settings.l0, self._thresholds[name]) for name, model in models.items()
        }
        built = time.perf_counter() - built
        self._enter("jaccard", self._keys, overlap, True, built)
        self._enter("error_correlation", self._own_errors, correlated_errors.compare, True, built)
        self._enter("transplant", self._transplants, transplanting.compare, False, built)
        self._enter("shared_concordance", self._shared_sources, concordance.compare, True, built)

    @property
    def tokens(self) -> int:
        """Number of tokens of each model."""
        return len(next(iter(self._models.values())).sources)

    def accuracy(self, pairs: Sequence[Pair]) -> Accuracy:
        """Return the layer-matching accuracy over both orders of pairs of models."""
        return mean_accuracy([self.matched(pairs)])

    def matched(self, pairs: Sequence[Pair]) -> Matched:
        """Return the share of layers that each measure matched.

        The shares are for both orders of the pairs of models.
        """
        shares, left_out = {}, dict(self._left_out)
        for name, contest in self._contests.items():
            start = time.perf_counter()
            try:
                matrices = {(a, b): self._matrix(name, a, b) for a, b in pairs}
                if contest.symmetric:
                    matrices = both_ways(matrices)
                else:
                    matrices |= {(b, a): self._matrix(name, b, a) for a, b in pairs}
            except TooFewTokens as reason:
                left_out[name] = str(reason)
                continue
            compared = sum(matrix.size for matrix in matrices.values()) / (2 if contest.symmetric else 1)
            took = 1000 * (time.perf_counter() - start) / compared
            self.costs.setdefault(name, Cost(contest.seconds, took, contest.peak_mb))
            shares[name] = {pair: float(matched_layers(matrix).mean()) for pair, matrix in matrices.items()}
        atoms = {
            name: float(np.mean([len(site.dictionary) for site in sites])) for name, sites in self.dictionaries.items()
        }
        return Matched(self.tokens, next(iter(self._thresholds.values())), atoms, shares, left_out)

    def _enter(
        self,
        name: str,
        prepare: Callable[[], dict[str, list[Any]]],
        compare: Callable[[Any, Any], float],
        symmetric: bool,
        before: float = 0.0,
    ) -> None:
        """Preprocess all sites for a measure.

        `before` is the time in seconds already spent on steps shared with other measures.
        """
        lowest, start = restart_peak(), time.perf_counter()
        try:
            sites = prepare()
        except TooFewTokens as reason:
            self._left_out[name] = str(reason)
            return
        seconds, peak = before + time.perf_counter() - start, peak_bytes()
        grown = None if lowest is None or peak is None else (peak - lowest) / 1e6
        self._contests[name] = _Contest(sites, compare, symmetric, seconds, grown)

    def _matrix(self, name: str, a: str, b: str) -> np.ndarray:
        contest = self._contests[name]
        if (name, a, b) not in self._matrices:
            self._matrices[name, a, b] = layer_similarities(contest.compare, contest.sites[a], contest.sites[b])
        return self._matrices[name, a, b]

    def _each_layer(self, prepare: Callable[[Any], Any]) -> dict[str, list[Any]]:
        return {name: [prepare(x) for x in model.layers] for name, model in self._models.items()}

    def _each_site(self, prepare: Callable[[Any, SiteDictionary], Any]) -> dict[str, list[Any]]:
        return {
            name: [prepare(x, site) for x, site in zip(model.layers, self.dictionaries[name], strict=True)]
            for name, model in self._models.items()
        }

    def _keys(self) -> dict[str, list[Any]]:
        return self._each_site(lambda _, site: source_keys(site.dictionary.sources))

    def _own_errors(self) -> dict[str, list[Any]]:
        return self._each_site(lambda x, site: correlated_errors.prepare(own_errors(x, site.dictionary), site.rows))

    def _transplants(self) -> dict[str, list[Any]]:
        most = self._settings.transplant_tokens
        return self._each_site(lambda x, site: transplanting.prepare(x, site.rows, most))

    def _shared_sources(self) -> dict[str, list[Any]]:
        chosen = [site.dictionary.sources for sites in self.dictionaries.values() for site in sites]
        sources = next(iter(self._models.values())).sources
        rows = torch.from_numpy(rows_of(shared_sources(chosen), sources))
        return self._each_layer(lambda x: concordance.prepare(x, rows))
