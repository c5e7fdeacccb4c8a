"""Threshold that gives a wanted number of atoms, found by building at several thresholds.

The number of atoms falls roughly as a power of the threshold. So each trial's threshold is interpolated, in logarithms,
between those of the trials that gave too many atoms and too few. A trial that gives too many stops there, which costs
little. Trials scan rows in order, so the threshold does not depend on how the rows are cut into batches.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.builder import DictionaryBuilder

TOLERANCE = 0.05
"""Accepted deviation from the wanted number of atoms, as a share of it."""
_STEEPNESS = 1.5  # assumed exponent of the fall before two trials tell it: 1 to 2 on real activations
_GROWTH = 0.7  # assumed exponent of the number of atoms over the rows, for a trial that stopped
_LEAST, _MOST_TRIALS = 1e-12, 20
_CLOSEST = 1e-6  # relative distance of two thresholds between which there is nothing to choose


class _Point(NamedTuple):
    """Result of a trial."""

    threshold: float
    """Its threshold."""
    atoms: float
    """Number of atoms, extrapolated to all rows if the trial stopped before the last."""


class Trial:
    """Build at one threshold, which stops when it has too many atoms."""

    def __init__(self, settings: DictionarySettings, mean: torch.Tensor | None) -> None:
        self.threshold = settings.threshold
        self._most = settings.max_atoms
        self._builder = DictionaryBuilder(settings, mean)
        self._rows = 0

    @property
    def is_full(self) -> bool:
        """Whether it has too many atoms, so that further rows need not be added."""
        return self._builder.n_atoms == self._most

    def add(self, activations: Any, sources: Any) -> None:
        """Add a batch, as `DictionaryBuilder.add` takes it; rows are only counted once it is full."""
        self._rows += len(sources)
        if not self.is_full:
            self._builder.add(activations, sources)

    def point(self) -> _Point:
        """Return the result after the last batch.

        Raises UserError without rows.
        """
        atoms = len(self._builder.finish())
        if atoms < (self._most or 0):
            return _Point(self.threshold, atoms)
        return _Point(self.threshold, atoms * (self._rows / (self._builder.last_admitted + 1)) ** _GROWTH)


class ThresholdSearch:
    """Search for the threshold that gives `settings.n_atoms` atoms: `trial`, all batches, `judge`, until it is done."""

    def __init__(self, settings: DictionarySettings) -> None:
        if settings.n_atoms is None:
            raise ValueError("the settings name no number of atoms")
        settings.check_scan()
        self._wanted = settings.n_atoms
        self._settings = replace(settings, recipe="published", n_atoms=None)
        self._above: _Point | None = None  # the lowest threshold with too few atoms
        self._below: _Point | None = None  # the highest with too many
        self._trials = 0
        self.threshold = settings.threshold or _LEAST
        self.is_done = False

    def trial(self, mean: torch.Tensor | None = None) -> Trial:
        """Begin the next trial; `mean` is that of the activations, for settings with centring."""
        most = math.floor(self._wanted * (1 + TOLERANCE)) + 1
        return Trial(replace(self._settings, threshold=self.threshold, max_atoms=most), mean)

    def judge(self, trial: Trial) -> None:
        """Take a trial's result, and choose the next threshold unless the search is done.

        Raises UserError if no threshold gives so many atoms.
        """
        found = trial.point()
        self._trials += 1
        if abs(found.atoms - self._wanted) <= TOLERANCE * self._wanted:
            self.is_done = True
            return
        if found.atoms > self._wanted:
            self._below = found
        else:
            self._above = found
        low, high = self._below, self._above
        if low is None and found.threshold <= _LEAST:
            raise UserError(
                f"these activations give {found.atoms:,.0f} atoms at most: ask for fewer than {self._wanted:,}, or "
                "for more tokens"
            )
        if low and high and (high.threshold / low.threshold < 1 + _CLOSEST or self._trials >= _MOST_TRIALS):
            closer = min((low, high), key=lambda each: abs(math.log(max(each.atoms, 0.5) / self._wanted)))
            self.threshold = closer.threshold
            self.is_done = True  # the number jumps here, as where activations are equal
            return
        self.threshold = self._next(found)

    def _next(self, found: _Point) -> float:
        low, high = self._below, self._above
        if low is None or high is None:
            ratio = (max(found.atoms, 0.5) / self._wanted) ** (1 / _STEEPNESS)
            ratio = max(ratio, 1.25) if high is None else min(ratio, 0.8)
            highest = 1.0 if self._settings.error == "relative" else math.inf  # at 1 nothing is over it
            beyond = (found.threshold + highest) / 2
            return max(_LEAST, min(found.threshold * ratio, beyond))
        share = math.log(low.atoms / self._wanted) / math.log(low.atoms / max(high.atoms, 0.5))
        share = min(max(share, 0.1), 0.9)
        return low.threshold * (high.threshold / low.threshold) ** share


def find_threshold(
    settings: DictionarySettings, replay: Callable[[], Iterable[tuple[Any, Any]]], mean: torch.Tensor | None = None
) -> float:
    """Return the threshold that gives `settings.n_atoms` atoms, within 5 %.

    Args:
        settings: the settings; the search begins at their threshold.
        replay: yields all batches from the start at each call.
        mean: [d_model] mean of the activations, for settings with centring.

    Raises UserError if no threshold gives so many.
    """
    search = ThresholdSearch(settings)
    while not search.is_done:
        trial = search.trial(mean)
        for activations, sources in replay():
            trial.add(activations, sources)
        search.judge(trial)
    return search.threshold
