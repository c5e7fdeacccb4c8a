"""Which activations become atoms (the paper's Algorithm 1), on one growing dictionary and its Gram matrix."""

import numba
import numpy as np

from itda_core.config import DictionarySettings
from itda_core.pursuit import BLOCK, Paths, blocks, correlations, gram_fits, pursue, pursue_row

FIRST_CAPACITY = 1024
"""Atoms that a new dictionary has room for; the room grows by half when it is full."""

_RELATIVE, _SQUARED, _COSINE = range(3)
_KIND = {"relative": _RELATIVE, "squared": _SQUARED, "cosine": _COSINE}


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
    def gram(self) -> np.ndarray | None:
        """[≥ n, ≥ n], or None where it does not fit."""
        return self._gram

    def reserve(self, more: int) -> None:
        """Make room for `more` atoms."""
        needed = self.n + more
        if needed <= len(self._atoms):
            return
        size = max(needed, len(self._atoms) * 3 // 2)
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
        self._atoms[self.n : end] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
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
        taken = taken[np.linalg.norm(x[taken], axis=1) > 0]
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
            return errors, self._admit_without_gram(block, errors)
        admitted = np.empty(len(block), np.int64)
        n = _admit_in_order(
            block,
            correlation,
            paths.steps,
            paths.picks,
            paths.coefficients,
            errors,
            grown._atoms,
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
        correlation = correlations(self._grown.atoms, block)
        paths = pursue(self._grown.atoms, block, self._settings.l0, self._grown.gram, correlation.copy())
        errors = np.empty(len(block))
        _errors(block, correlation, paths.steps, paths.picks, paths.coefficients, _KIND[self._settings.error], errors)
        return paths, correlation, errors

    def _admit_without_gram(self, block: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """The sequential rule where no Gram matrix fits: after an admission, judge the rest of the block anew."""
        admitted: list[int] = []
        row = 0
        while self._room() > 0:
            over = np.flatnonzero(errors[row:] > self._settings.threshold)
            if len(over) == 0:
                break
            row += int(over[0]) + 1
            admitted.append(row - 1)
            self._grown.append(block[row - 1 : row])
            _, _, anew = self._pursued(block)
            errors[row:] = anew[row:]
        return np.array(admitted, np.int64)


@numba.njit(cache=True)
def _error(kind, d_model, squared_norm, captured, projection):
    """Reconstruction error of one row from three sums over its path.

    `captured` is Σc², so |r|² = |x|² − Σc² for unit-norm atoms; `projection` is ⟨x, x'⟩.
    """
    if squared_norm == 0:
        return 0.0
    residual = max(squared_norm - captured, 0.0)
    if kind == _RELATIVE:
        return residual / squared_norm
    if kind == _SQUARED:
        return residual
    # |x'|² = |x|² − 2⟨x, r⟩ + |r|² with ⟨x, r⟩ = |x|² − ⟨x, x'⟩
    reconstructed = max(2 * projection - squared_norm + residual, 0.0)
    if reconstructed == 0:
        return 1 / d_model
    return (2 - 2 * projection / np.sqrt(squared_norm * reconstructed)) / d_model


@numba.njit(cache=True)
def _squared_norm(x):
    total = 0.0
    for value in x:
        total += np.float64(value) * value
    return total


@numba.njit(cache=True)
def _row_error(kind, x, correlation, steps, picks, coefficients):
    captured = projection = 0.0
    for step in range(steps):
        c = np.float64(coefficients[step])
        captured += c * c
        projection += c * correlation[picks[step]]
    return _error(kind, len(x), _squared_norm(x), captured, projection)


@numba.njit(cache=True)
def _errors(block, correlation, steps, picks, coefficients, kind, errors):
    for row in range(len(block)):
        errors[row] = _row_error(kind, block[row], correlation[row], steps[row], picks[row], coefficients[row])


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(a, b):
    total = np.float32(0.0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True)
def _would_pick(fresh, gram, first, steps, picks, coefficients):
    """Whether a row would have picked one of the atoms from `first` on, given its correlations `fresh` with them."""
    for new in range(len(fresh)):
        correlation = fresh[new]
        for step in range(steps):
            if abs(correlation) > abs(coefficients[step]):
                return True
            correlation -= coefficients[step] * gram[first + new, picks[step]]
        if steps < len(picks) and correlation != 0:
            return True
    return False


@numba.njit(cache=True)
def _admit_in_order(
    block, correlation, steps, picks, coefficients, errors, atoms, gram, before, kind, threshold, room, admitted
):
    """Admit a block's rows in order; `errors`, `atoms` and `gram` are brought up to date. Returns how many."""
    n = 0
    fresh = np.empty((len(block), len(block)), np.float32)  # correlations with this block's own admissions
    both = np.empty(before + len(block), np.float32)
    for row in range(len(block)):
        if n > 0 and _would_pick(fresh[row, :n], gram, before, steps[row], picks[row], coefficients[row]):
            both[:before] = correlation[row]
            both[before : before + n] = fresh[row, :n]
            known = both[: before + n].copy()
            taken = pursue_row(both[: before + n], gram, picks[row], coefficients[row])
            errors[row] = _row_error(kind, block[row], known, taken, picks[row], coefficients[row])
        if errors[row] > threshold and n < room:
            end = before + n
            atoms[end] = block[row] / np.float32(np.sqrt(_squared_norm(block[row])))
            for other in range(end + 1):
                gram[end, other] = gram[other, end] = _dot(atoms[other], atoms[end])
            for later in range(row + 1, len(block)):
                fresh[later, n] = _dot(block[later], atoms[end])
            admitted[n] = row
            n += 1
    return n
