"""Which activations become atoms (the paper's Algorithm 1), on one growing dictionary and its Gram matrix."""

from math import isqrt

import numpy as np

from itda_core import kernels, pursuit
from itda_core.config import DictionarySettings
from itda_core.pursuit import BLOCK, Paths, blocks, correlations, gram_fits, pursue

FIRST_CAPACITY = 1024
"""Atoms that a new dictionary has room for; the room grows by half when it is full."""

_KIND = {"relative": kernels.RELATIVE, "squared": kernels.SQUARED, "cosine": kernels.COSINE}


class GrowingAtoms:
    """Atoms in order of admission, with room to grow, and their Gram matrix while it fits."""

    def __init__(self, d_model: int) -> None:
        self.n = 0
        self._atoms = np.empty((FIRST_CAPACITY, d_model), np.float32)
        self._gram: np.ndarray | None = np.empty((FIRST_CAPACITY, FIRST_CAPACITY), np.float32)

    @property
    def atoms(self) -> np.ndarray:
        """[n, d_model], a view."""
        return self._atoms[: self.n]

    @property
    def room(self) -> np.ndarray:
        """[≥ n, d_model]: the atoms and the rows that wait for more."""
        return self._atoms

    @property
    def gram(self) -> np.ndarray | None:
        """[≥ n, ≥ n], or None where it does not fit."""
        return self._gram

    def reserve(self, more: int) -> None:
        """Make room for `more` atoms."""
        needed = self.n + more
        if needed <= len(self._atoms):
            return
        size = max(needed, len(self._atoms) * 3 // 2)
        if gram_fits(needed) and not gram_fits(size):
            size = isqrt(pursuit.GRAM_LIMIT // 4)  # the most that still has its Gram matrix
        atoms = np.empty((size, self._atoms.shape[1]), np.float32)
        atoms[: self.n] = self.atoms
        self._atoms = atoms
        if not gram_fits(size):
            self._gram = None
        elif self._gram is not None:
            gram = np.empty((size, size), np.float32)
            gram[: self.n, : self.n] = self._gram[: self.n, : self.n]
            self._gram = gram

    def append(self, rows: np.ndarray) -> None:
        """Append rows [m, d_model], scaled to unit norm."""
        self.reserve(len(rows))
        end = self.n + len(rows)
        exact = rows.astype(np.float64)  # squares of float32 values may not fit float32
        self._atoms[self.n : end] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
        if self._gram is not None:
            new = correlations(self._atoms[:end], self._atoms[self.n : end])
            self._gram[self.n : end, :end] = new
            self._gram[:end, self.n : end] = new.T
        self.n = end


class Judge:
    """Decides, block by block, which rows are admitted to a growing dictionary."""

    def __init__(self, settings: DictionarySettings, grown: GrowingAtoms) -> None:
        self._settings = settings
        self._grown = grown

    def _room(self) -> int:
        limit = self._settings.max_atoms
        return np.iinfo(np.int64).max if limit is None else max(0, limit - self._grown.n)

    def start_frequent(self, x: np.ndarray) -> np.ndarray:
        """The published start: while there are fewer than d_model atoms, take the most frequent distinct rows.

        Returns the indices of the rows taken, in order of admission.
        """
        wanted = min(x.shape[1] - self._grown.n, self._room())
        if wanted <= 0:
            return np.zeros(0, np.int64)
        distinct, inverse, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
        first = np.full(len(distinct), len(x))
        np.minimum.at(first, inverse.ravel(), np.arange(len(x)))
        taken = first[np.argsort(-counts, kind="stable")[:wanted]]
        taken = taken[x[taken].any(axis=1)]
        self._grown.append(x[taken])
        return taken

    def judge_batch(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Judge a batch [n, d_model] by the dictionary as it stands, then admit all of its rows over the threshold.

        Returns:
            errors [n] float64, and the indices of the rows admitted.
        """
        errors = np.empty(len(x))
        for start, block in blocks(x):
            _, _, block_errors = self._pursued(block)
            errors[start : start + BLOCK] = block_errors[: len(x) - start]
        admitted = np.flatnonzero(errors > self._settings.threshold)[: self._room()]
        self._grown.append(x[admitted])
        return errors, admitted

    def judge_sequential(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Judge a padded block row by row, each by a dictionary that holds the rows admitted before it.

        The block is pursued at once with the atoms from before it. Its own admissions then matter only to a row that
        would have picked one of them on its way, which its path and the new atom's correlations tell.

        Returns:
            errors [rows] float64, and the indices of the rows admitted.
        """
        grown, settings = self._grown, self._settings
        grown.reserve(len(block))
        paths, correlation, errors = self._pursued(block)
        if grown.gram is None:
            return errors, self._admit_without_gram(block, paths, errors)
        admitted = np.empty(len(block), np.int64)
        n = kernels.admit_in_order(
            block,
            correlation,
            paths.steps,
            paths.picks,
            paths.coefficients,
            errors,
            grown.room,
            grown.gram,
            grown.n,
            _KIND[settings.error],
            settings.threshold,
            min(self._room(), len(block)),
            admitted,
        )
        grown.n += n
        return errors, admitted[:n]

    def _pursued(self, block: np.ndarray) -> tuple[Paths, np.ndarray, np.ndarray]:
        """Paths, correlations [rows, n_atoms] and errors [rows] of a block under the atoms as they stand."""
        atoms = self._grown.atoms
        correlation = correlations(atoms, block)
        paths = pursue(atoms, block, self._settings.l0, self._grown.gram, correlation.copy())
        errors = np.empty(len(block))
        kind = _KIND[self._settings.error]
        kernels.block_errors(block, atoms, correlation, paths.steps, paths.picks, paths.coefficients, kind, errors)
        return paths, correlation, errors

    def _admit_without_gram(self, block: np.ndarray, paths: Paths, errors: np.ndarray) -> np.ndarray:
        """The sequential rule where no Gram matrix fits; brings `errors` up to date."""
        before = self._grown.n
        admitted: list[int] = []
        for row in range(len(block)):
            if admitted and self._would_pick(block[row], paths, row, before):
                errors[row] = self._pursued(block[row : row + 1])[2][0]
            if errors[row] > self._settings.threshold and self._room() > 0:
                admitted.append(row)
                self._grown.append(block[row : row + 1])
        return np.array(admitted, np.int64)

    def _would_pick(self, x: np.ndarray, paths: Paths, row: int, before: int) -> bool:
        """Whether a row would have picked one of the atoms from `before` on, on the path it took without them."""
        new = self._grown.atoms[before:]
        steps = paths.steps[row]
        picks, coefficients = paths.picks[row, :steps], paths.coefficients[row, :steps]
        taken = coefficients[:, None] * (self._grown.atoms[picks] @ new.T)
        at_each_step = new @ x - np.concatenate([np.zeros((1, len(new)), np.float32), taken.cumsum(0)])
        if (np.abs(at_each_step[:steps]) > np.abs(coefficients)[:, None]).any():
            return True
        return bool(steps < paths.picks.shape[1] and at_each_step[steps].any())
