"""Matching pursuit (Mallat and Zhang 1993; the paper's Algorithm 2), pure arrays in and out.

For one activation x: residual r ← x; k times: j = argmax |⟨r, d_j⟩|, c = ⟨r, d_j⟩, code[j] += c, r ← r − c·d_j. With
the Gram matrix G = D·Dᵀ the correlations of the next step follow from the last by one row of it, corr ← corr − c·G[j],
so that a step costs a row of memory traffic instead of a product with the whole dictionary.

Float32 products depend on the height of the block they are computed in, so rows always go in blocks of one height, the
last padded: a row then has the same code whatever rows stand around it.
"""

import threading
from collections.abc import Iterator

import numba
import numpy as np
import torch

from itda_core.types import Codes

BLOCK = 256
"""Rows in a block."""
GRAM_LIMIT = 4 << 30
"""Bytes that a Gram matrix may take (32 k atoms); a wider dictionary pursues without one."""
_CHUNK = 256  # correlations looked at together: their maximum is vectorised, and only the best chunk is searched

# numba's fallback threading layer aborts the process when two threads run parallel kernels at once.
_kernels = threading.Lock()


class Paths:
    """What pursuit did with each row of a block: the picks of each step, before repeated picks are summed."""

    def __init__(self, rows: int, k: int) -> None:
        self.steps = np.zeros(rows, np.int64)
        """[rows] steps taken; fewer than k only where nothing was left to explain."""
        self.picks = np.zeros((rows, k), np.int64)
        """[rows, k] the atom picked at each step."""
        self.coefficients = np.zeros((rows, k), np.float32)
        """[rows, k] its coefficient."""


def plain_pursuit(atoms: torch.Tensor, x: torch.Tensor, k: int) -> torch.Tensor:
    """Dense codes [n, n_atoms] by the plain algorithm: a full correlation product per step, all k steps for every row.

    The reference that tests and benchmarks hold the fast path against; it costs what the published code costs.
    """
    residual, codes, row = x.clone(), torch.zeros(len(x), len(atoms)), torch.arange(len(x))
    for _ in range(k):
        correlation = residual @ atoms.T
        best = correlation.abs().argmax(1)
        coefficient = correlation[row, best]
        codes[row, best] += coefficient
        residual -= coefficient[:, None] * atoms[best]
    return codes


def gram_fits(n_atoms: int) -> bool:
    """Whether a dictionary of this many atoms keeps its Gram matrix."""
    return n_atoms * n_atoms * 4 <= GRAM_LIMIT


def encode(atoms: np.ndarray, x: np.ndarray, k: int, gram: np.ndarray | None) -> Codes:
    """Sparse codes of x [n, d] over unit-norm atoms [n_atoms, d], with gram [n_atoms, n_atoms] or without.

    Memory beyond the arguments and the codes is one block of correlations.
    """
    parts = []
    for start, block in blocks(x):
        paths = pursue(atoms, block, k, gram, correlations(atoms, block))
        row, atom, coefficient = _summed(paths.steps, paths.picks, paths.coefficients)
        real = row < len(x) - start
        parts.append((row[real] + start, atom[real], coefficient[real]))
    if not parts:
        return Codes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    return Codes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def blocks(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, block [BLOCK, d]) over x [n, d], the last block padded with zero rows, which have empty codes."""
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK]
        if len(block) < BLOCK:
            block = np.concatenate([block, np.zeros((BLOCK - len(block), x.shape[1]), np.float32)])
        yield start, block


def correlations(atoms: np.ndarray, block: np.ndarray) -> np.ndarray:
    """[rows, n_atoms] inner products of a block's rows with the atoms."""
    return (torch.from_numpy(block) @ torch.from_numpy(atoms).T).numpy()


def pursue(atoms: np.ndarray, block: np.ndarray, k: int, gram: np.ndarray | None, correlation: np.ndarray) -> Paths:
    """Pursue every row of a block with its correlations [rows, n_atoms], which are used up.

    Args:
        atoms: [n_atoms, d], unit norm.
        block: [rows, d].
        k: steps.
        gram: [≥ n_atoms, ≥ n_atoms], or None to take the correlations anew at each step.
        correlation: [rows, n_atoms], as `correlations` gives them; overwritten.
    """
    paths = Paths(len(block), k)
    if len(atoms) == 0:
        return paths
    if gram is not None:
        with _kernels:
            _pursue_block(correlation, gram, paths.steps, paths.picks, paths.coefficients)
        return paths
    residual = block.copy()
    rows = np.arange(len(block))
    for step in range(k):
        if step:
            correlation = correlations(atoms, residual)
        best = np.abs(correlation).argmax(1)
        coefficient = correlation[rows, best]
        going = coefficient != 0
        paths.picks[:, step], paths.coefficients[:, step] = best, coefficient
        paths.steps += going
        residual -= coefficient[:, None] * atoms[best]
        if not going.any():
            break
    return paths


@numba.njit(cache=True, fastmath={"nnan", "ninf", "nsz", "contract"}, inline="always")
def _strongest(correlation):
    """Index of the first largest absolute value."""
    best, best_start = np.float32(-1.0), 0
    for start in range(0, len(correlation), _CHUNK):
        largest = np.float32(0.0)
        for j in range(start, min(start + _CHUNK, len(correlation))):
            largest = max(largest, abs(correlation[j]))
        if largest > best:
            best, best_start = largest, start
    for j in range(best_start, min(best_start + _CHUNK, len(correlation))):
        if abs(correlation[j]) == best:
            return j
    return best_start


@numba.njit(cache=True, fastmath={"nnan", "ninf", "nsz", "contract"})
def pursue_row(correlation, gram, picks, coefficients):
    """Pursue one row: correlation [n_atoms] used up, picks [k] and coefficients [k] filled; returns the steps."""
    for step in range(len(picks)):
        j = _strongest(correlation)
        c = correlation[j]
        if c == 0:
            return step
        picks[step], coefficients[step] = j, c
        row = gram[j]
        for i in range(len(correlation)):
            correlation[i] -= c * row[i]
    return len(picks)


@numba.njit(parallel=True, cache=True)
def _pursue_block(correlation, gram, steps, picks, coefficients):
    for row in numba.prange(len(correlation)):
        steps[row] = pursue_row(correlation[row], gram, picks[row], coefficients[row])


@numba.njit(cache=True)
def _summed(steps, picks, coefficients):
    """(row, atom, coefficient) of a block's paths, an atom picked twice by one row summed, in order of first pick."""
    total = steps.sum()
    rows, atoms, values = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.float32)
    n = 0
    for row in range(len(steps)):
        first = n
        for step in range(steps[row]):
            at = first
            while at < n and atoms[at] != picks[row, step]:
                at += 1
            if at == n:
                rows[n], atoms[n], values[n] = row, picks[row, step], 0
                n += 1
            values[at] += coefficients[row, step]
        kept = first
        for at in range(first, n):  # picks that cancel leave no coefficient
            if values[at] != 0:
                rows[kept], atoms[kept], values[kept] = rows[at], atoms[at], values[at]
                kept += 1
        n = kept
    return rows[:n], atoms[:n], values[:n]
