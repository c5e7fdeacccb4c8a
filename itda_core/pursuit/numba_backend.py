"""Matching pursuit on the CPU: state of the compiled loops."""

from math import ceil, prod

import numba
import numpy as np
import torch

from itda_core.pursuit import arrays, gram, kernels, rounding
from itda_core.pursuit.simd import CHUNK, DEPTH, PANEL, PEAKS, TILE

GRAM_LIMIT = 4 << 30
"""Maximum bytes of the Gram matrix, two per value (46 k atoms); for a larger dictionary it is a cache of the rows
fetched last."""
FIRST_CAPACITY = 8 * CHUNK
"""Initial capacity in atoms; it grows by half when it is full."""


def round_up(n: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least n."""
    return -(-n // multiple) * multiple


class CpuPaths:
    """Result of pursuing a block of rows, as a `PursuitResult`."""

    def __init__(self, x: np.ndarray, k: int, padded: int) -> None:
        n = len(x)
        if x.shape[1] == padded:
            rows = x
        else:
            rows = np.zeros((n, padded), np.float32)
            rows[:, : x.shape[1]] = x
        self.loops = arrays.Rows(
            rows,
            np.empty((n, padded), np.float32),
            norm=np.zeros(n, np.float32),
            screened=np.zeros(n, np.float32),
            bound=np.zeros(n, np.float32),
            step=np.zeros(n, np.float32),
            greatest=np.zeros(n, np.int16),
            steps=np.zeros(n, np.int64),
            picks=np.empty((n, k), np.int64),
            coefficients=np.empty((n, k), np.float32),
            state=np.zeros(n, np.int8),
        )
        self._width = x.shape[1]

    def __len__(self) -> int:
        return len(self.loops.x)

    def errors(self, kind: int) -> np.ndarray:
        """Return [rows] float64 reconstruction errors in the unit `kind`."""
        out = np.empty(len(self))
        with arrays.lock:
            rounding.errors(self.loops.x, self.loops.residual, self._width, kind, out)
        return out

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return steps [rows], picks [rows, k] and coefficients [rows, k]."""
        return self.loops.steps, self.loops.picks, self.loops.coefficients


class NumbaBackend:
    """Matching pursuit over growing atoms on the CPU, as a `PursuitBackend`.

    Args:
        d_model: width of the activations.
        signed: whether coefficients may be negative.
    """

    in_order = 4 * arrays.GROUP

    def __init__(self, d_model: int, signed: bool = True) -> None:
        self.n = 0
        self.d_model = d_model
        self._signed = signed
        self._padded = round_up(d_model, DEPTH)
        self._capacity = 0
        self._rounded = np.zeros(1, np.float32)
        self._exact = np.zeros((0, self._padded), np.float32)
        self._panels = np.zeros((0, self._padded * PANEL), np.int16)
        self._gram = np.zeros((1, CHUNK), np.int16)
        self._slot = np.zeros(0, np.int64)
        self._off = np.zeros(1, np.float32)
        self._holds = np.zeros(0, np.int64)  # if the Gram matrix does not fit: the atom in each of its rows, or -1
        self._next = 0  # row at which the next are stored
        self._buffers: dict[str, np.ndarray] = {}
        self._grow(FIRST_CAPACITY)

    @property
    def atoms(self) -> torch.Tensor:
        """[n, d_model] float32, unit norm, a view."""
        return torch.from_numpy(self._exact[: self.n, : self.d_model])

    @property
    def block(self) -> int:
        """Rows per block; fewer if each row keeps its own correlations."""
        return 1536 if self.whole else 240

    @property
    def whole(self) -> bool:
        """Flag of a dictionary whose complete Gram matrix is kept."""
        return self._capacity * self._capacity * 2 <= GRAM_LIMIT

    def append(self, rows: torch.Tensor) -> None:
        """Append rows [m, d_model], scaled to unit norm."""
        if len(rows) == 0:
            return
        first, last = self.n, self.n + len(rows)
        if last > self._capacity:
            self._grow(last)
        self._exact[first:last, : self.d_model] = rows.numpy()
        gram.append(self._exact, self._panels, first, last, self._rounded)
        self.n = last
        if self.whole:
            new = np.arange(first, last)
            with arrays.lock:
                gram.fill_gram(self._exact, last, self._gram, new, new, True)
        else:
            self._slot[:], self._holds[:] = -1, -1  # cached rows lack the products with the new atoms

    def pursue(self, x: torch.Tensor, k: int) -> CpuPaths:
        """Pursue rows x [rows, d_model] for at most k steps."""
        rows = CpuPaths(x.numpy(), k, self._padded)
        if self.n == 0:
            rows.loops.residual[:] = rows.loops.x
            return rows
        group = _group(len(x))
        spaces = numba.get_num_threads() * group if self.whole else round_up(len(x), group)
        with arrays.lock:
            room = self._room(spaces)
            while True:
                kernels.pursue(self._loops(), rows.loops, self._block(0), room, group, not self.whole)
                if not self._fetch_for(rows.loops, room):
                    return rows

    def admit_in_order(
        self, x: torch.Tensor, k: int, kind: int, threshold: float, room: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Judge rows sequentially; up to `in_order` of them."""
        rows = CpuPaths(x.numpy(), k, self._padded)
        rows.loops.norm[:] = -1  # not screened yet
        block = self._block(len(x))
        with arrays.lock:
            spaces = self._room(len(x))
            while not kernels.judge(
                self._loops(), rows.loops, block, spaces, _group(len(x)), kind, self.d_model, threshold, room
            ):
                self._fetch_for(rows.loops, spaces)
        admitted = np.flatnonzero(block.over)
        self.append(x[torch.from_numpy(admitted)])
        return block.errors, admitted

    def _loops(self) -> arrays.Atoms:
        return arrays.Atoms(
            self.n, self._exact, self._panels, self._gram, self._off, self._slot, self._signed, self._rounded
        )

    def _room(self, spaces: int) -> arrays.Workspace:
        """Return the workspace, with buffers reused if they are large enough.

        A new buffer would have to be zeroed by the system. The caller must hold the lock.
        """
        width, cores = self._width, numba.get_num_threads()
        return arrays.Workspace(
            self._reused("correlation", (spaces, width)),
            self._reused("peaks", (spaces, width // CHUNK * PEAKS)),
            np.empty((cores, self._padded), np.int16),
            np.empty((round_up(max(cores * arrays.GROUP, spaces), TILE) // TILE, self._padded // 2 * TILE), np.int32),
        )

    def _block(self, rows: int) -> arrays.AdmissionBlock:
        return arrays.AdmissionBlock(
            self._reused("start", (round_up(rows, TILE), self._width)),
            np.zeros((rows, self._padded), np.float32),
            np.zeros(rows, np.bool_),
            np.zeros((rows, rows), np.bool_),
            np.empty(rows),
            len(self._gram) - self.in_order,
        )

    @property
    def _width(self) -> int:
        """Width of the rows of correlations."""
        return round_up(max(self.n, 1), CHUNK)

    def _reused(self, name: str, shape: tuple[int, int]) -> np.ndarray:
        if name not in self._buffers or self._buffers[name].size < prod(shape):
            self._buffers[name] = np.empty(prod(shape) * 3 // 2, np.int16)
        return self._buffers[name][: prod(shape)].reshape(shape)

    def _grow(self, needed: int) -> None:
        """Grow the capacity to at least `needed` atoms.

        It grows by half, so that the total cost of copying stays small.
        """
        capacity = round_up(max(needed, self._capacity * 3 // 2), CHUNK)
        least = round_up(needed, CHUNK)
        if least * least * 2 <= GRAM_LIMIT < capacity * capacity * 2:
            capacity = int((GRAM_LIMIT / 2) ** 0.5) // CHUNK * CHUNK  # the largest capacity with a complete Gram matrix
        self._capacity = capacity
        self._exact = _larger(self._exact, (capacity, self._padded))
        self._panels = _larger(self._panels, (capacity // PANEL, self._padded * PANEL))
        if self.whole:
            self._gram = _larger(self._gram, (capacity + self.in_order, capacity))
            self._off = np.full(len(self._gram), rounding.gram_bound(self._padded), np.float32)
            self._slot = np.arange(capacity)
            return
        kept = round_up(max(1, GRAM_LIMIT // (2 * capacity)), TILE)
        self._gram = np.zeros((kept + self.in_order, capacity), np.int16)  # its rows are computed again when needed
        self._off = np.zeros(len(self._gram), np.float32)
        self._slot = np.full(capacity, -1)
        self._holds = np.full(kept, -1)
        self._next = 0

    def _fetch_for(self, rows: arrays.Rows, room: arrays.Workspace) -> bool:
        """Fetch the Gram rows that stopped rows need, evicting the oldest.

        Returns whether any row had stopped.
        """
        stopped = np.flatnonzero(rows.state == arrays.STOPPED)
        if len(stopped) == 0:
            return False
        wanted = np.unique(rows.picks[stopped, rows.steps[stopped] - 1])
        missing = wanted[self._slot[wanted] < 0][: len(self._holds)]
        first = self._next if self._next + len(missing) <= len(self._holds) else 0
        self._next = first + round_up(len(missing), TILE)
        evicted = self._holds[first : self._next]
        self._slot[evicted[evicted >= 0]] = -1
        self._holds[first : self._next] = -1
        self._holds[first : first + len(missing)] = missing
        self._slot[missing] = np.arange(first, first + len(missing))
        gram.fetch_gram(self._loops(), missing, first, room)
        return True


def _group(rows: int) -> int:
    """Return the number of rows that a core takes at a time.

    All of a core's share if there are few rows for each core.
    """
    return min(arrays.GROUP, round_up(ceil(rows / numba.get_num_threads()), TILE))


def _larger(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    larger = np.zeros(shape, array.dtype)
    larger[: array.shape[0], : array.shape[1]] = array
    return larger
