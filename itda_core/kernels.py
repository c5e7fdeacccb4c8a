"""The compiled loops of matching pursuit on the CPU.

A row's correlations with all atoms are kept in single precision, from 16-bit products, with a bound on how far they may
be off. They only screen: whichever atoms may be the strongest within that bound are correlated exactly with the row's
residual, and the strongest of these is picked. So a path depends on the row and the atoms alone: not on the rows, the
batches or the threads around it.

numba's cache on disk notices a change only in the file of the function that it kept. `VECTORS` stands for the other
file that the loops are made of.
"""

import threading
from collections import namedtuple

import numba
import numpy as np

from itda_core.vectors import (
    CHUNK,
    LANES,
    PANEL,
    TILE,
    dot,
    next_at_least,
    products,
    products_of_one,
    subtract,
    subtract_and_peak,
)

VECTORS = "35b9be99"
"""Start of the SHA-256 of `vectors.py`; a test tells when it has changed."""

RELATIVE, SQUARED, COSINE = range(3)
"""Units of the reconstruction error."""
GROUP = 4 * TILE
"""Rows whose correlations one core has at a time, where there are enough rows for all cores."""
SCALE = 32767
"""What 1 is in 16 bits."""

lock = threading.Lock()
"""Held around parallel kernels: numba's fallback threading layer aborts the process when two threads run them."""

Atoms = namedtuple("Atoms", "n exact panels gram slot signed")
"""The dictionary, n atoms: exact [≥ n, d] float32; panels [≥ n / PANEL, d · PANEL] int16, the same times SCALE; gram
[any, ≥ n] int16, rows of the Gram matrix times SCALE; slot [≥ n] where an atom's row of it is, or -1; signed, whether
coefficients may be negative."""
Rows = namedtuple("Rows", "x residual norm scale bound greatest steps picks coefficients state")
"""The rows: x and residual [rows, d] float32; norm [rows]; scale [rows], the norm of the residual that the correlations
began with, bound [rows] on their error, and the greatest of them [rows]; steps [rows]; picks and coefficients
[rows, k]; state [rows], see below."""
Room = namedtuple("Room", "correlation peaks x16 scales")
"""Room for correlations [spaces, ≥ n] and their peaks [spaces, n / CHUNK · LANES], float32; for TILE rows of each core
in 16 bits, [threads · TILE, d], and what scales their products [1, threads · TILE]."""
NEW, GOING, STOPPED, DONE = range(4)
"""States of a row: not begun, under way, stopped at a step whose row of the Gram matrix is not there, at its end."""

_RESOLVED = np.float32(2**-21)  # share of |x| under which a coefficient is the rounding error of the ones before it
_GRAM_BOUND = np.float32(2e-5)  # half a step of 16 bits, and the rounding of a float32 product
_ROUNDING = np.float32(1e-6)  # of a float32 product of unit vectors
_INNER = {
    "cache": True,
    "forceinline": True,
    "_nrt": False,
}  # counting references to arrays would cost more than a step
_CROWD = 64  # with more candidates than this it pays to correlate the residual with all atoms anew


@numba.njit(parallel=True, cache=True)
def pursue(atoms, rows, room, group, own, start, known):
    """Pursue rows from their beginning, or go on with those that stopped.

    `group` rows, a multiple of TILE, are taken by one core at a time. With `own`, every row has a space in `room` that
    is left as it is; else each core has `group` spaces for all of its rows. Where `start` [rows, ≥ n] has any room, the
    rows' first correlations are left there; or taken from there, with `known` atoms, if that is more than -1.
    """
    n_rows = len(rows.x)
    for g in numba.prange((n_rows + group - 1) // group):
        first = g * group
        last = min(first + group, n_rows)
        space = first if own else numba.get_thread_id() * group
        if rows.state[first] == NEW:
            if known < 0:
                _screen(atoms, rows, room, first, last, space)
            for row in range(first, last):
                _begin(atoms, rows, row, room, space + row - first, start, known)
        for row in range(first, last, 2):
            _advance(atoms, rows, row, min(row + 1, last - 1), room, space + row - first)


@numba.njit(cache=True)
def admit(atoms, known, rows, first, errors, threshold, room, admitted, n, appended, unit, again):
    """Admit the rows from `first` on whose error is over the threshold, until one has to be pursued again.

    The rows were pursued with `known` atoms. Of the n rows that were admitted since, `appended` are among the atoms;
    the others are known by the unit vectors [n, d] in `unit`. `again` [1, d] is room.

    Returns:
        the row to be pursued again, or the number of rows; and n.
    """
    for row in range(first, len(rows.x)):
        if n > 0 and _would_pick(atoms, known, rows, row, unit, appended, n, again):
            return row, n
        if errors[row] > threshold and n < room:
            admitted[n] = row
            for at in range(rows.x.shape[1]):
                unit[n, at] = rows.x[row, at] / rows.norm[row]
            n += 1
    return len(rows.x), n


@numba.njit(**_INNER)
def _would_pick(atoms, known, rows, row, unit, appended, n, again):
    """Whether a row would have picked an atom that came since it was pursued, on the path that it took.

    With a margin for rounding: a row that is pursued again for nothing ends on the path that it had.
    """
    margin = np.float32(1) - _ROUNDING
    for at in range(rows.x.shape[1]):
        again[0, at] = rows.x[row, at]
    for step in range(rows.picks.shape[1]):
        c = rows.coefficients[row, step] if step < rows.steps[row] else np.float32(0)
        least = max(abs(c) * margin, _RESOLVED * rows.norm[row])
        for j in range(known, atoms.n):
            if _size(dot(again, 0, atoms.exact, j), atoms.signed) >= least:
                return True
        for j in range(appended, n):
            if _size(dot(again, 0, unit, j), atoms.signed) >= least:
                return True
        if step >= rows.steps[row]:
            return False
        subtract(again, 0, c, atoms.exact, rows.picks[row, step])
    return False


@numba.njit(**_INNER)
def _screen(atoms, rows, room, first, last, space):
    """First correlations of the rows from `first` to `last`, from products of 16-bit values, and their bounds."""
    own = numba.get_thread_id() * TILE
    for tile in range(first, last, TILE):
        for i in range(min(TILE, last - tile)):
            rows.norm[tile + i] = _round(rows.x, tile + i, room, own + i)
            _set_bound(rows, tile + i, rows.norm[tile + i])
        for panel in range(room.correlation.shape[1] // PANEL):
            products(room.x16, own, atoms.panels, panel, room.scales, room.correlation, space + tile - first)


@numba.njit(**_INNER)
def _screen_again(atoms, rows, row, room, space):
    """The correlations of what is left of a row; their bound shrinks with it."""
    own = numba.get_thread_id() * TILE
    _set_bound(rows, row, _round(rows.residual, row, room, own))
    for panel in range(room.correlation.shape[1] // PANEL):
        products_of_one(room.x16, own, atoms.panels, panel, room.scales, room.correlation, space)
    _update(atoms, rows, row, room, space, 0, 0, np.float32(0))


@numba.njit(**_INNER, fastmath={"reassoc", "contract"})
def _round(x, row, room, i):
    """Put a row, scaled to unit norm, into x16[i] and what its products are to be scaled with into scales; its norm."""
    squared = 0.0  # of float32 values that may not fit float32
    for at in range(x.shape[1]):
        squared += np.float64(x[row, at]) * x[row, at]
    norm = np.float32(np.sqrt(squared))
    room.scales[0, i] = norm / np.float32(SCALE * SCALE)
    up = np.float32(SCALE) / norm if norm > 0 else np.float32(0)
    for at in range(x.shape[1]):
        room.x16[i, at] = np.int16(np.floor(x[row, at] * up + np.float32(0.5)))
    return norm


@numba.njit(**_INNER)
def _set_bound(rows, row, norm):
    """By the Cauchy-Schwarz inequality: rounding moves either unit vector by at most √d / 2 steps."""
    rows.scale[row] = norm
    rows.bound[row] = norm * _first_bound(rows)


@numba.njit(**_INNER)
def _first_bound(rows):
    return np.sqrt(np.float32(rows.x.shape[1])) * np.float32(1.01 / SCALE) + _ROUNDING


@numba.njit(**_INNER)
def _begin(atoms, rows, row, room, space, start, known):
    if known >= 0:
        _set_bound(rows, row, rows.norm[row])
        for j in range(min(room.correlation.shape[1], start.shape[1])):
            room.correlation[space, j] = start[row, j]
        for j in range(known, atoms.n):
            room.correlation[space, j] = dot(rows.x, row, atoms.exact, j)
    elif len(start) > 0:
        for j in range(start.shape[1]):
            start[row, j] = room.correlation[space, j]
    _update(atoms, rows, row, room, space, 0, 0, np.float32(0))


@numba.njit(**_INNER)
def _update(atoms, rows, row, room, space, slot, ahead, c):
    rows.greatest[row] = subtract_and_peak(
        room.correlation, space, atoms.gram, slot, ahead, c / np.float32(SCALE), atoms.signed, room.peaks
    )


@numba.njit(**_INNER)
def _advance(atoms, rows, a, b, room, space):
    """Take two rows, or one twice, to their ends or to a step whose row of the Gram matrix is not there.

    By turns, so that the row of the Gram matrix that one needs comes from memory while the other's is worked on.
    """
    for row in range(a, b + 1):
        if rows.state[row] == STOPPED:
            rows.state[row] = GOING
    row = a
    while rows.state[a] <= GOING or rows.state[b] <= GOING:
        other = a + b - row
        if rows.state[row] <= GOING:
            rows.state[row] = _step(atoms, rows, row, room, space + row - a, _next_slot(atoms, rows, other))
        row = other


@numba.njit(**_INNER)
def _next_slot(atoms, rows, row):
    return max(0, atoms.slot[rows.picks[row, rows.steps[row] - 1]]) if rows.state[row] == GOING else 0


@numba.njit(**_INNER)
def _step(atoms, rows, row, room, space, ahead):
    """Take one step; returns the state after it."""
    step = rows.steps[row]
    if rows.state[row] == GOING:
        c = rows.coefficients[row, step - 1]
        slot = atoms.slot[rows.picks[row, step - 1]]
        if slot < 0:
            return STOPPED
        _update(atoms, rows, row, room, space, slot, ahead, c)
        rows.bound[row] += abs(c) * _GRAM_BOUND + rows.scale[row] * np.float32(2e-7)
    picked, c = _strongest(atoms, rows, row, room, space)
    if picked < 0 or abs(c) <= _RESOLVED * rows.norm[row]:
        return DONE
    rows.picks[row, step], rows.coefficients[row, step] = picked, c
    rows.steps[row] = step + 1
    subtract(rows.residual, row, c, atoms.exact, picked)
    return GOING if step + 1 < rows.picks.shape[1] else DONE


@numba.njit(**_INNER)
def _strongest(atoms, rows, row, room, space):
    """The atom that a row's residual correlates most with, the first of equals, and the coefficient."""
    limit = np.int64(_CROWD)
    while True:
        picked, c, found = _strongest_of(atoms, rows, row, room, space, limit)
        if found <= limit:
            return picked, c
        norm = np.sqrt(dot(rows.residual, row, rows.residual, row))
        if rows.bound[row] > 4 * norm * _first_bound(rows):
            _screen_again(atoms, rows, row, room, space)
        limit = atoms.n


@numba.njit(**_INNER)
def _strongest_of(atoms, rows, row, room, space, limit):
    """The same by the correlations as they are; gives up when more than `limit` atoms may be it."""
    low = rows.greatest[row] - 2 * rows.bound[row]
    picked, c, best, found = -1, np.float32(0), np.float32(0), 0
    n_peaks = room.peaks.shape[1]
    at = next_at_least(room.peaks, space, 0, low)
    while at < n_peaks:
        first = at // LANES * CHUNK + at % LANES
        for j in range(first, min(first + CHUNK, atoms.n), LANES):
            if _size(room.correlation[space, j], atoms.signed) >= low:
                found += 1
                exact = dot(rows.residual, row, atoms.exact, j)
                size = _size(exact, atoms.signed)
                if size > best or (size == best and j < picked):
                    picked, c, best = j, exact, size
        if found > limit:
            break
        at = next_at_least(room.peaks, space, at + 1, low)
    return picked, c, found


@numba.njit(**_INNER)
def _size(value, signed):
    return abs(value) if signed else value


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def errors(x, residual, width, kind, out):
    """Fill out [rows] with the errors of x - residual [rows, d] in the unit `kind`; 0 for a zero row."""
    for row in range(len(x)):
        squared = left = projection = reconstructed = 0.0
        for i in range(x.shape[1]):
            value, rest = np.float64(x[row, i]), np.float64(residual[row, i])
            squared += value * value
            left += rest * rest
            projection += value * (value - rest)
            reconstructed += (value - rest) * (value - rest)
        if squared == 0:
            out[row] = 0
        elif kind == RELATIVE:
            out[row] = left / squared
        elif kind == SQUARED:
            out[row] = left
        elif reconstructed == 0:
            out[row] = 1 / width
        else:
            out[row] = (2 - 2 * projection / np.sqrt(squared * reconstructed)) / width


@numba.njit(parallel=True, cache=True)
def sum_repeats(steps, picks, coefficients):
    """Sum what a row gave to an atom in several steps, in place, in order of first pick; steps become numbers of atoms.

    Picks that cancel leave no coefficient.
    """
    for row in numba.prange(len(steps)):
        n = 0
        for step in range(steps[row]):
            at = 0
            while at < n and picks[row, at] != picks[row, step]:
                at += 1
            if at == n:
                picks[row, n], coefficients[row, n] = picks[row, step], coefficients[row, step]
                n += 1
            else:
                coefficients[row, at] += coefficients[row, step]
        kept = 0
        for at in range(n):
            if coefficients[row, at] != 0:
                picks[row, kept], coefficients[row, kept] = picks[row, at], coefficients[row, at]
                kept += 1
        steps[row] = kept


@numba.njit(cache=True)
def flatten(first, steps, picks, coefficients, row, atom, coefficient, at):
    """Write the codes of rows numbered from `first` to three flat arrays from `at` on; returns where they end."""
    for i in range(len(steps)):
        for step in range(steps[i]):
            row[at], atom[at], coefficient[at] = first + i, picks[i, step], coefficients[i, step]
            at += 1
    return at
