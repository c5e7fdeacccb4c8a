"""Matching pursuit on the CPU: a growing dictionary as the compiled loops want it, and what they did with some rows."""

import threading
from math import ceil

import numba
import numpy as np
import torch

from itda_core import kernels
from itda_core.vectors import CHUNK, DEPTH, LANES, PANEL, TILE

GRAM_LIMIT = 4 << 30
"""Bytes that the rows of a Gram matrix may take, two for each value (46 k atoms); of a wider dictionary, those rows are
kept that were wanted last."""
FIRST_CAPACITY = 8 * CHUNK
"""Atoms that a new dictionary has room for; the room grows by half when it is full."""

_NO_ROOM = np.zeros((0, 0), np.float32)


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is at least n."""
    return -(-n // multiple) * multiple


_fetching = threading.Lock()
"""Held while a Gram matrix that does not fit is pursued with: the rows of it that are there change meanwhile."""


class CpuPaths:
    """Some rows and the paths that pursuit took with them; the interface is `pursuit.Paths`."""

    def __init__(self, x: np.ndarray, k: int, padded: int) -> None:
        n = len(x)
        rows = np.zeros((n, padded), np.float32)
        rows[:, : x.shape[1]] = x
        self.loops = kernels.Rows(
            rows,
            rows.copy(),
            *(np.zeros(n, np.float32) for _ in range(4)),
            np.zeros(n, np.int64),
            np.empty((n, k), np.int64),
            np.empty((n, k), np.float32),
            np.zeros(n, np.int8),
        )
        self._width = x.shape[1]
        self.start = _NO_ROOM
        self.known = 0

    def __len__(self) -> int:
        return len(self.loops.x)

    def errors(self, kind: int) -> np.ndarray:
        """[rows] float64 errors of the reconstructions, in the unit `kind`."""
        out = np.empty(len(self))
        with kernels.lock:
            kernels.errors(self.loops.x, self.loops.residual, self._width, kind, out)
        return out

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps [rows], picks [rows, k] and coefficients [rows, k]."""
        return self.loops.steps, self.loops.picks, self.loops.coefficients


class CpuPursuer:
    """Atoms in order of admission, with room to grow, and pursuit with them; the interface is `pursuit.Pursuer`.

    Args:
        d_model: width of the activations.
        signed: whether coefficients may be negative.
    """

    in_order = 2 * kernels.GROUP

    def __init__(self, d_model: int, signed: bool = True) -> None:
        self.n = 0
        self.d_model = d_model
        self._signed = signed
        self._padded = round_up(d_model, DEPTH)
        self._capacity = 0
        self._exact = np.zeros((0, self._padded), np.float32)
        self._panels = np.zeros((0, self._padded * PANEL), np.int16)
        self._gram = np.zeros((1, CHUNK), np.int16)
        self._slot = np.zeros(0, np.int64)
        self._holds = np.zeros(0, np.int64)  # where the Gram matrix does not fit: whose row each row of it is,
        self._used = np.zeros(0, np.int64)  # and when it was wanted last
        self._clock = 0
        self._grow(FIRST_CAPACITY)

    @property
    def atoms(self) -> torch.Tensor:
        """[n, d_model] float32, unit norm, a view."""
        return torch.from_numpy(self._exact[: self.n, : self.d_model])

    @property
    def block(self) -> int:
        """Fewer rows where each keeps correlations of its own."""
        return 1536 if self.whole else 240

    @property
    def whole(self) -> bool:
        """Whether the whole Gram matrix is kept."""
        return self._capacity * self._capacity * 2 <= GRAM_LIMIT

    def append(self, rows: torch.Tensor) -> None:
        """Append rows [m, d_model], scaled to unit norm."""
        if len(rows) == 0:
            return
        first, last = self.n, self.n + len(rows)
        if last > self._capacity:
            self._grow(last)
        exact = rows.numpy().astype(np.float64)  # squares of float32 values may not fit float32
        self._exact[first:last, : self.d_model] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
        self.n = last
        self._pack(np.arange(first, last))
        if self.whole:
            self._fill_gram(first)
        else:
            self._slot[:], self._holds[:], self._used[:] = -1, -1, -1  # the rows there know nothing of the new atoms

    def pursue(self, x: torch.Tensor, k: int) -> CpuPaths:
        """Pursue rows x [rows, d_model] for at most k steps."""
        return self._pursue(x.numpy(), k, keep_start=False)

    def _pursue(self, x: np.ndarray, k: int, keep_start: bool) -> CpuPaths:
        """The same; with `keep_start`, `_pursue_again` can follow."""
        rows = CpuPaths(x, k, self._padded)
        rows.known = self.n
        if self.n == 0 and not keep_start:
            return rows
        width = round_up(max(self.n, 1), CHUNK)
        threads = numba.get_num_threads()
        group = min(kernels.GROUP, TILE * max(1, ceil(len(x) / (TILE * threads))))
        if self.whole:
            room = _room(threads * group, width, self._padded)
            if keep_start:
                rows.start = np.empty((len(x), width), np.float32)
            with kernels.lock:
                kernels.pursue(self._loops(), rows.loops, room, group, False, rows.start, -1)
            return rows
        room = _room(round_up(len(x), group), width, self._padded)
        with _fetching:
            while True:
                with kernels.lock:
                    kernels.pursue(self._loops(), rows.loops, room, group, True, _NO_ROOM, -1)
                waiting = np.flatnonzero(rows.loops.state == kernels.STOPPED)
                if waiting.size == 0:
                    return rows
                self._fetch(rows.loops.picks[waiting, rows.loops.steps[waiting] - 1])

    def admit_in_order(
        self, x: torch.Tensor, k: int, kind: int, threshold: float, room: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Judge rows in order.

        They are pursued at once with the atoms from before them. Their own admissions then matter only to a row that
        would have picked one of them on its way, which is pursued again.
        """
        rows = self._pursue(x.numpy(), k, keep_start=True)
        errors = rows.errors(kind)
        admitted = np.empty(len(x), np.int64)
        unit = np.zeros((len(x), self._padded), np.float32)
        again = np.empty((1, self._padded), np.float32)
        n = appended = at = 0
        while True:
            at, n = kernels.admit(
                self._loops(), rows.known, rows.loops, at, errors, threshold, room, admitted, n, appended, unit, again
            )
            self.append(x[torch.from_numpy(admitted[appended:n])])
            appended = n
            if at == len(x):
                return errors, admitted[:n]
            self._pursue_again(rows, at)
            one = slice(at, at + 1)
            kernels.errors(rows.loops.x[one], rows.loops.residual[one], self.d_model, kind, errors[one])
            if errors[at] > threshold and n < room:
                admitted[n] = at
                unit[n] = rows.loops.x[at] / rows.loops.norm[at]
                n += 1
            at += 1

    def _pursue_again(self, rows: CpuPaths, row: int) -> None:
        """Pursue one row anew with the atoms that came since."""
        one = kernels.Rows(*(array[row : row + 1] for array in rows.loops))
        if not self.whole:
            again = self._pursue(one.x[:, : self.d_model], one.picks.shape[1], False)
            for mine, new in zip(one, again.loops, strict=True):
                mine[:] = new
            return
        one.residual[:], one.steps[:], one.state[:] = one.x, 0, kernels.NEW
        room = _room(numba.get_num_threads() * TILE, round_up(self.n, CHUNK), self._padded)
        room.correlation[:, rows.start.shape[1] :] = 0
        with kernels.lock:
            kernels.pursue(self._loops(), one, room, TILE, False, rows.start[row : row + 1], rows.known)

    def _loops(self) -> kernels.Atoms:
        return kernels.Atoms(self.n, self._exact, self._panels, self._gram, self._slot, self._signed)

    def _grow(self, needed: int) -> None:
        """Room for at least `needed` atoms, by half as many again, so that copying them stays a small share."""
        capacity = round_up(max(needed, self._capacity * 3 // 2), CHUNK)
        least = round_up(needed, CHUNK)
        if least * least * 2 <= GRAM_LIMIT < capacity * capacity * 2:
            capacity = int((GRAM_LIMIT / 2) ** 0.5) // CHUNK * CHUNK  # the most that still has its whole Gram matrix
        self._capacity = capacity
        self._exact = _larger(self._exact, (capacity, self._padded))
        self._panels = _larger(self._panels, (capacity // PANEL, self._padded * PANEL))
        if self.whole:
            self._gram = _larger(self._gram, (capacity, capacity))
            self._slot = np.arange(capacity)
            return
        kept = max(1, GRAM_LIMIT // (2 * capacity))
        self._gram = np.zeros((kept, capacity), np.int16)  # what stood in it is made again when it is wanted
        self._slot = np.full(capacity, -1)
        self._holds = np.full(kept, -1)
        self._used = np.full(kept, -1)

    def _pack(self, atoms: np.ndarray) -> None:
        """Round atoms to 16 bits and put them into their panels."""
        rounded = np.rint(self._exact[atoms] * kernels.SCALE).astype(np.int16)
        panels = self._panels.reshape(-1, self._padded // 2, PANEL, 2)
        panels[atoms // PANEL, :, atoms % PANEL] = rounded.reshape(len(atoms), -1, 2)

    def _fill_gram(self, first: int) -> None:
        """Rows and columns of the Gram matrix for the atoms from `first` on, a few hundred at a time."""
        for at in range(first, self.n, 512):
            end = min(at + 512, self.n)
            block = self._inner_products(torch.arange(at, end), end)
            self._gram[at:end, :end] = block
            self._gram[:end, at:end] = block.T

    def _inner_products(self, atoms: torch.Tensor, n: int) -> np.ndarray:
        """[atoms, n] in 16 bits."""
        exact = torch.from_numpy(self._exact)
        return (exact[atoms] @ exact[:n].T).mul_(kernels.SCALE).round_().to(torch.int16).numpy()

    def _fetch(self, wanted: np.ndarray) -> None:
        """Bring the wanted rows of the Gram matrix in place of those not wanted for the longest."""
        self._clock += 1
        wanted = np.unique(wanted)
        there = wanted[self._slot[wanted] >= 0]
        self._used[self._slot[there]] = self._clock
        missing = wanted[self._slot[wanted] < 0][: len(self._used)]
        if len(missing) == 0:
            return
        slots = np.argpartition(self._used, len(missing) - 1)[: len(missing)]
        evicted = self._holds[slots]
        self._slot[evicted[evicted >= 0]] = -1
        self._slot[missing] = slots
        self._holds[slots], self._used[slots] = missing, self._clock
        self._gram[slots, : self.n] = self._inner_products(torch.from_numpy(missing), self.n)


def _larger(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    larger = np.zeros(shape, array.dtype)
    larger[: array.shape[0], : array.shape[1]] = array
    return larger


def _room(spaces: int, width: int, padded: int) -> kernels.Room:
    tiles = numba.get_num_threads() * TILE
    return kernels.Room(
        np.empty((spaces, width), np.float32),
        np.empty((spaces, width // CHUNK * LANES), np.float32),
        np.zeros((tiles, padded), np.int16),
        np.zeros((1, tiles), np.float32),
    )
