"""Uniform sample of a stream of activations in bounded memory.

The sample is independent of how the stream is cut into batches.
"""

import numpy as np
import torch

from itda_core.common.settings import RESERVOIR_ROWS

_CUT_AT = 1.25
"""Multiple of the capacity at which surplus rows are dropped, which bounds memory."""


class Reservoir:
    """Sample of the rows with the smallest keys.

    A row's key is a fixed hash of its number in the stream, so the sample is independent of the rows' content, and
    reproducible exactly: with other batches, and after an interruption. It takes at most 1.25 · capacity · d_model · 4
    bytes, on the CPU.
    """

    def __init__(self, capacity: int = RESERVOIR_ROWS) -> None:
        self._capacity = capacity
        self._rows: list[torch.Tensor] = []
        self._sources: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []
        self._n = 0
        self._limit = np.iinfo(np.uint64).max  # rows with a larger key are not in the sample

    def add(self, x: torch.Tensor, sources: np.ndarray, first: int) -> None:
        """Consider rows x [n, d_model] with sources [n, 2] for the sample.

        Rows are numbered from `first` in the stream; zero rows are skipped.
        """
        numbers = np.arange(first, first + len(x))
        wanted = np.flatnonzero((_keys(numbers) <= self._limit) & x.any(1).cpu().numpy())
        if len(wanted) == 0:
            return
        self._rows.append(x[torch.from_numpy(wanted).to(x.device)].cpu())
        self._sources.append(sources[wanted])
        self._numbers.append(numbers[wanted])
        self._n += len(wanted)
        if self._n > _CUT_AT * self._capacity:
            self._cut()

    def sample(self) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Return the sampled rows, their sources, and their numbers in the stream.

        [m, d_model], [m, 2] and [m], in a random order.
        """
        self._cut()
        if not self._rows:
            return torch.zeros(0, 0), np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
        return self._rows[0], self._sources[0], self._numbers[0]

    def state(self) -> dict[str, torch.Tensor]:
        """Return the state for `resume`."""
        rows, sources, numbers = self.sample()
        return {
            "reservoir": rows,
            "reservoir_sources": torch.from_numpy(sources),
            "reservoir_numbers": torch.from_numpy(numbers),
        }

    @classmethod
    def resume(cls, state: dict[str, torch.Tensor], capacity: int = RESERVOIR_ROWS) -> "Reservoir":
        """Restore a reservoir from its `state`.

        Raises KeyError if the state has none.
        """
        found = cls(capacity)
        rows, numbers = state["reservoir"], state["reservoir_numbers"].numpy()
        if len(rows):
            found._rows, found._sources = [rows], [state["reservoir_sources"].numpy()]
            found._numbers, found._n = [numbers], len(rows)
            found._cut()
        return found

    def _cut(self) -> None:
        if not self._rows:
            return
        numbers = np.concatenate(self._numbers)
        keys = _keys(numbers)
        kept = np.argsort(keys)[: self._capacity]
        if len(kept) == self._capacity:
            self._limit = keys[kept[-1]]
        self._rows = [torch.cat(self._rows)[torch.from_numpy(kept)]]
        self._sources, self._numbers = [np.concatenate(self._sources)[kept]], [numbers[kept]]
        self._n = len(kept)


def _keys(numbers: np.ndarray) -> np.ndarray:
    """Return [n] uint64 hashes of numbers; no two are equal.

    The finaliser of SplitMix64 (Steele et al. 2014).
    """
    z = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
