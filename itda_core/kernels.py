"""The compiled loops of pursuit and admission.

All in one file, because numba's cache on disk notices a change only in the file of the function that it kept: a loop
that calls into another file would go on running what that file said before.
"""

import threading

import numba
import numpy as np

RELATIVE, SQUARED, COSINE = range(3)
"""Units of the reconstruction error."""

lock = threading.Lock()
"""Held around parallel kernels: numba's fallback threading layer aborts the process when two threads run them."""

_CHUNK = 256  # correlations looked at together: their maximum is vectorised, and only the best chunk is searched
_CANCELLED = 1e-4  # below this share of |x|², |x|² − Σc² has lost too many digits of float32
_ORDERED = {"nnan", "ninf", "nsz", "contract"}  # fast arithmetic that keeps the order of sums


@numba.njit(parallel=True, cache=True)
def pursue_block(correlation, gram, steps, picks, coefficients):
    """`pursue_row` for every row of a block, on all cores."""
    for row in numba.prange(len(correlation)):
        steps[row] = pursue_row(correlation[row], gram, picks[row], coefficients[row])


@numba.njit(cache=True, fastmath=_ORDERED)
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


@numba.njit(cache=True, fastmath=_ORDERED, inline="always")
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


@numba.njit(cache=True)
def summed(steps, picks, coefficients):
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


@numba.njit(cache=True)
def block_errors(block, atoms, correlation, steps, picks, coefficients, kind, errors):
    """Fill errors [rows] of a block's paths in the unit `kind`."""
    for row in range(len(block)):
        errors[row] = row_error(kind, block[row], atoms, correlation[row], steps[row], picks[row], coefficients[row])


@numba.njit(cache=True)
def row_error(kind, x, atoms, correlation, steps, picks, coefficients):
    """Reconstruction error of one row in the unit `kind`; a zero row has none.

    For unit-norm atoms |r|² = |x|² − Σc², and ⟨x, x'⟩ = Σ c·⟨x, d⟩ from the row's correlations before pursuit.
    """
    squared_norm = _squared_norm(x)
    if squared_norm == 0:
        return 0.0
    captured = projection = 0.0
    for step in range(steps):
        c = np.float64(coefficients[step])
        captured += c * c
        projection += c * correlation[picks[step]]
    residual = squared_norm - captured
    if residual < _CANCELLED * squared_norm:
        residual = _residual(x, atoms, steps, picks, coefficients)
    if kind == RELATIVE:
        return residual / squared_norm
    if kind == SQUARED:
        return residual
    # |x'|² = |x|² − 2⟨x, r⟩ + |r|² with ⟨x, r⟩ = |x|² − ⟨x, x'⟩
    reconstructed = 2 * projection - squared_norm + residual
    if reconstructed <= 0:
        return 1 / len(x)
    return (2 - 2 * projection / np.sqrt(squared_norm * reconstructed)) / len(x)


@numba.njit(cache=True)
def _squared_norm(x):
    total = 0.0
    for value in x:
        total += np.float64(value) * value
    return total


@numba.njit(cache=True)
def _residual(x, atoms, steps, picks, coefficients):
    """|x − Σ c·d|², taken from the vectors themselves."""
    total = 0.0
    for i in range(len(x)):
        left = np.float64(x[i])
        for step in range(steps):
            left -= np.float64(coefficients[step]) * atoms[picks[step], i]
        total += left * left
    return total


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
def admit_in_order(
    block, correlation, steps, picks, coefficients, errors, atoms, gram, before, kind, threshold, room, admitted
):
    """Admit a block's rows in order, at most `room`; `errors`, `atoms` and `gram` are brought up to date.

    `before` atoms stood when the block was pursued. Returns how many rows were admitted, their numbers in `admitted`.
    """
    n = 0
    fresh = np.empty((len(block), len(block)), np.float32)  # correlations with this block's own admissions
    both = np.empty(before + len(block), np.float32)
    for row in range(len(block)):
        if n > 0 and _would_pick(fresh[row, :n], gram, before, steps[row], picks[row], coefficients[row]):
            both[:before] = correlation[row]
            both[before : before + n] = fresh[row, :n]
            known = both[: before + n].copy()
            taken = pursue_row(both[: before + n], gram, picks[row], coefficients[row])
            errors[row] = row_error(kind, block[row], atoms, known, taken, picks[row], coefficients[row])
        if errors[row] > threshold and n < room:
            end = before + n
            norm = np.sqrt(_squared_norm(block[row]))
            for i in range(block.shape[1]):
                atoms[end, i] = block[row, i] / norm
            for other in range(end + 1):
                gram[end, other] = gram[other, end] = _dot(atoms[other], atoms[end])
            for later in range(row + 1, len(block)):
                fresh[later, n] = _dot(block[later], atoms[end])
            admitted[n] = row
            n += 1
    return n
