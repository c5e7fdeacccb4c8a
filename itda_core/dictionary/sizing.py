"""Threshold that gives a wanted number of atoms, found by building at several thresholds.

The number of atoms falls roughly as a power of the threshold. So each trial's threshold is interpolated, in logarithms,
between those of the trials that gave too many atoms and too few. A trial stops building at too many, which costs
little. Rows are judged in order, so the threshold does not depend on how they are cut into batches.
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
_LEAST = 1e-30  # threshold below which there is nothing to find
_STRIDE = 1.25  # least factor of a step without a bracket; doubled in logarithms with every further one
_LONGEST = 64  # highest power of it
_MOST_STEPS, _MOST_TRIALS = 24, 16  # without a bracket, and with one
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
        self.rows = 0
        """Rows so far."""
        self._most = settings.max_atoms
        self._builder = DictionaryBuilder(settings, mean)

    def add(self, activations: Any, sources: Any) -> None:
        """Add a batch, as `DictionaryBuilder.add` takes it; its rows are only counted once there are too many atoms."""
        self.rows += len(sources)
        if self._builder.n_atoms != self._most:
            self._builder.add(activations, sources)

    def point(self) -> _Point:
        """Return the result after the last batch.

        Raises UserError without rows.
        """
        atoms = len(self._builder.finish())
        if atoms < (self._most or 0):
            return _Point(self.threshold, atoms)
        return _Point(self.threshold, atoms * (self.rows / (self._builder.last_admitted + 1)) ** _GROWTH)


class ThresholdSearch:
    """Search for the threshold that gives `settings.n_atoms` atoms: `trial`, all batches, `judge`, until it is done.

    Attributes:
        threshold: the next trial's, or the one that was found.
        is_done: whether it was found.
    """

    def __init__(self, settings: DictionarySettings) -> None:
        if settings.n_atoms is None:
            raise ValueError("the settings name no number of atoms")
        settings.check_scan()
        self._wanted = settings.n_atoms
        self._settings = replace(settings, recipe="published", n_atoms=None)
        self._above: _Point | None = None  # the lowest threshold with too few atoms
        self._below: _Point | None = None  # the highest with too many
        self._steps = self._trials = 0
        self.threshold = max(settings.threshold, _LEAST)
        self.is_done = False

    def trial(self, mean: torch.Tensor | None = None) -> Trial:
        """Begin the next trial; `mean` is that of the activations, for settings with centring."""
        most = math.floor(self._wanted * (1 + TOLERANCE)) + 1
        return Trial(replace(self._settings, threshold=self.threshold, max_atoms=most), mean)

    def judge(self, trial: Trial) -> None:
        """Take a trial's result, and choose the next threshold unless the search is done.

        Raises UserError if no threshold gives so many atoms.
        """
        if trial.rows < self._wanted * (1 - TOLERANCE):
            raise self._refused(f"{trial.rows:,} activations can be atoms")
        found = trial.point()
        if abs(found.atoms - self._wanted) <= TOLERANCE * self._wanted:
            self.is_done = True
            return
        if found.atoms > self._wanted:
            self._below = found
        else:
            self._above = found
        low, high = self._below, self._above
        if low is not None and high is not None:
            self._trials += 1
            if high.threshold / low.threshold < 1 + _CLOSEST or self._trials >= _MOST_TRIALS:
                # The number jumps here, as where many activations are equal: the nearer one is taken.
                is_nearer = high.atoms >= 1 and self._wanted / high.atoms < low.atoms / self._wanted
                self.threshold = high.threshold if is_nearer else low.threshold
                self.is_done = True
                return
            self.threshold = self._between(low, high)
            return
        self._steps += 1
        if (high is not None and found.threshold <= _LEAST) or self._steps >= _MOST_STEPS:
            raise self._refused(f"a threshold of {found.threshold:.3g} gives {found.atoms:,.0f} atoms")
        self.threshold = self._beyond(found)

    def _refused(self, reason: str) -> UserError:
        return UserError(f"{reason}, and {self._wanted:,} were asked for: ask for other --atoms, or for more tokens")

    def _beyond(self, found: _Point) -> float:
        """Return a threshold further out than all so far, by larger and larger steps."""
        factor = (max(found.atoms, 0.5) / self._wanted) ** (1 / _STEEPNESS)
        least = _STRIDE ** min(2 ** (self._steps - 1), _LONGEST)
        if found.atoms < self._wanted:
            return max(_LEAST, found.threshold * min(factor, 1 / least))
        raised = found.threshold * min(max(factor, least), 1e12)
        if self._settings.error == "relative" and raised >= 1:  # above 1 there is nothing
            return (found.threshold + 1) / 2 if found.threshold < 0.99 else max(1.0, 2 * found.threshold - 1)
        return raised

    def _between(self, low: _Point, high: _Point) -> float:
        share = math.log(low.atoms / self._wanted) / math.log(low.atoms / max(high.atoms, 0.5))
        share = min(max(share, 0.1), 0.9)
        return low.threshold * (high.threshold / low.threshold) ** share


def find_threshold(
    settings: DictionarySettings, replay: Callable[[], Iterable[tuple[Any, Any]]], mean: torch.Tensor | None = None
) -> float:
    """Return the threshold that gives `settings.n_atoms` atoms, within 5 % unless the number jumps.

    Args:
        settings: the settings; the search begins at their threshold.
        replay: yields all batches from the start at each call.
        mean: [d_model] mean of the activations, for settings with centring.

    Raises:
        UserError: no threshold gives so many.
        ValueError: the batches differ from pass to pass.
    """
    search, rows = ThresholdSearch(settings), None
    while not search.is_done:
        trial = search.trial(mean)
        for activations, sources in replay():
            trial.add(activations, sources)
        if rows not in (None, trial.rows):
            raise ValueError(f"the batches had {rows:,} rows and then {trial.rows:,}: give the same at each pass")
        rows = trial.rows
        search.judge(trial)
    return search.threshold
