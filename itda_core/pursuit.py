"""Matching pursuit (Mallat and Zhang 1993; the paper's Algorithm 2), pure arrays in and out.

For one activation x: residual r ← x; k times: j = argmax |⟨r, d_j⟩|, c = ⟨r, d_j⟩, code[j] += c, r ← r − c·d_j. With
the Gram matrix G = D·Dᵀ the correlations of the next step follow from the last by one row of it, corr ← corr − c·G[j],
so that a step costs a row of memory traffic instead of a product with the whole dictionary.

Float32 products depend on the height of the block they are computed in, so rows always go in blocks of one height, the
last padded: a row then has the same code whatever rows stand around it.
"""

from collections.abc import Iterator

import numpy as np
import torch

from itda_core import kernels
from itda_core.types import Codes

BLOCK = 256
"""Rows in a block."""
GRAM_LIMIT = 4 << 30
"""Bytes that a Gram matrix may take (32 k atoms); a wider dictionary pursues without one."""


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
        row, atom, coefficient = kernels.summed(paths.steps, paths.picks, paths.coefficients)
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
        with kernels.lock:
            kernels.pursue_block(correlation, gram, paths.steps, paths.picks, paths.coefficients)
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
