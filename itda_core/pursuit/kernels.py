"""Compiled loops of matching pursuit on the CPU.

A row's correlations with all atoms are kept as 16-bit integers, from products of 16-bit values, with an error bound.
They are only a filter: all atoms that may be the strongest within the bound are correlated exactly with the row's
residual, and the strongest of these is picked. So a path depends on the row and the atoms alone: not on the surrounding
rows, the batches or the threads.

numba's on-disk cache detects a change only in the file of the cached function. `VECTORS` stands for the other file that
the loops depend on.
"""

import threading
from collections import namedtuple
from functools import partial
from typing import Any

import numba
import numpy as np
from numba.np.ufunc.parallel import get_thread_id

from itda_core.pursuit.compiling import compiled
from itda_core.pursuit.simd import (
    CHUNK,
    PANEL,
    PEAKS,
    TILE,
    WORD,
    at_least,
    dot,
    first_bit,
    four_dots,
    next_chunk,
    products,
    products_of_one,
    subtract,
    subtract_and_peak,
)

VECTORS = "e02665fc"
"""Prefix of the SHA-256 of `simd.py`; a test detects when it is outdated."""

RELATIVE, SQUARED, COSINE = range(3)
"""Units of the reconstruction error."""
GROUP = 4 * TILE
"""Rows whose correlations one core holds at a time, if there are enough rows for all cores."""
SCALE = 32000
"""Value of 1 in 16-bit fixed point, with headroom for rounding."""

lock = threading.Lock()
"""Held around parallel kernels: numba's fallback threading layer aborts the process if two threads run them."""

Atoms = namedtuple("Atoms", "n exact panels gram off slot signed rounded")
"""The dictionary, n atoms: exact [≥ n, d] float32; panels [≥ n / PANEL, d · PANEL] int16, the same times SCALE; gram
[any, ≥ n] int16, rows of the Gram matrix times SCALE; off [any] float32, error bound of such a row, before the scaling;
slot [≥ n], index of an atom's row in gram, or -1; signed, whether coefficients may be negative; rounded [1] float32,
the largest distance that rounding to 16 bits moved an atom."""
Rows = namedtuple("Rows", "x residual norm screened bound step greatest steps picks coefficients state")
"""The rows: x and residual [rows, d] float32; norm [rows]; screened [rows], error bound of their first correlations;
bound [rows], error bound of the current correlations; step [rows], the value of 1 unit of their 16-bit correlations;
greatest [rows] int16, the largest of them; steps [rows]; picks and coefficients [rows, k]; state [rows], see below."""
AdmissionBlock = namedtuple("AdmissionBlock", "start unit over known errors slot")
"""Rows that are judged sequentially: start [rows, ≥ n] int16, their first correlations; unit [rows, d], the rows scaled
to unit norm; over [rows], whether they become atoms; known [rows, rows], whether a row's path was computed with an
earlier row as an atom; errors [rows]; slot, first row of the Gram matrix that is reserved for them. Row i, if it
becomes an atom, is picked as number n + i. Empty if rows are only pursued."""
Workspace = namedtuple("Workspace", "correlation peaks rounded pairs")
"""Buffers: correlations [spaces, ≥ n] and their peaks [spaces, n / CHUNK · PEAKS], int16; one 16-bit row per core
[threads, d]; and GROUP rows per core in tiles, as `simd.products` reads them, [threads · GROUP / TILE, d / 2 · TILE]
int32."""
NEW, GOING, STOPPED, DONE, JUDGED = range(5)
"""States of a row: not started, in progress, stopped at a step whose row of the Gram matrix is missing, finished, error
computed."""

_RESOLVED = np.float32(2**-21)  # share of |x| below which a coefficient is rounding error of the previous ones
_STEP = np.float32(2**15 / SCALE**2)  # unit of the 16-bit first correlations, as a share of |x|
_SHORTEST = np.float32(1e-27)  # rows of a smaller norm count as zero: their residuals are below float32's precision
_MOST = SCALE - 500  # maximum of 16-bit correlations, with headroom for their bound
_FINEST = 256  # 16-bit units per bound: a finer resolution gains nothing
_CROWD = 64  # with more candidates than this it is cheaper to recompute all correlations
_GRAM_BLOCK = 64  # atoms that stay in a core's L2 cache while rows of the Gram matrix are computed,
_GRAM_FEW = 16  # and those of them that stay in its L1 cache
_PANELS = 64  # panels that stay in the L2 cache while rows of the Gram matrix are fetched
_UNIT = 2.5e-7  # tolerance of a unit norm in float32
_TINIEST = 1e-54  # the square of _SHORTEST

_compiled: Any = partial(compiled, error_model="numpy")
_loop: Any = partial(_compiled, _nrt=False)  # reference counting of arrays would cost more than a step
_inlined: Any = partial(_loop, forceinline=True)


@_compiled(parallel=True)
def pursue(atoms, rows, block, room, group, own):
    """Pursue rows from their beginning, or continue those that stopped.

    A core takes `group` rows at a time, a multiple of TILE. With `own`, every row has a space in `room` that is
    preserved; otherwise each core reuses `group` spaces for all of its rows. `block` has no rows.
    """
    n_rows = len(rows.x)
    for g in numba.prange((n_rows + group - 1) // group):
        first = g * group
        last = min(first + group, n_rows)
        space = first if own else get_thread_id() * group
        if rows.state[first] == NEW:
            _screen(atoms, rows, room, first, last, room.correlation, space)
        for row in range(first, last, 2):
            mate = min(row + 1, last - 1)
            _advance(atoms, rows, block, row, mate, room, space + row - first, space + mate - first)


@_compiled(parallel=True)
def judge(atoms, rows, block, room, group, kind, width, threshold, most):
    """Judge rows sequentially and mark those to admit.

    Each row is judged by a dictionary that also holds the rows before it whose error is over the threshold, the first
    `most` of them. All rows are pursued, then those whose path would differ with the atoms found meanwhile are pursued
    again, until there are none. After each round at least one more row is final; in practice nearly all are. Every row
    has a space in `room`.

    Returns:
        whether all rows are finished; if not, rows stopped, and it has to be called again with their Gram rows present.
    """
    n_rows = len(rows.x)
    waiting = np.empty(n_rows, np.int64)
    if rows.norm[0] < 0:
        for g in numba.prange((n_rows + group - 1) // group):
            _screen(atoms, rows, room, g * group, min((g + 1) * group, n_rows), block.start, g * group)
    while True:
        n = 0
        for row in range(n_rows):
            if rows.state[row] < DONE:
                waiting[n] = row
                n += 1
        if n == 0:
            return True
        for pair in numba.prange((n + 1) // 2):
            a, b = waiting[2 * pair], waiting[min(2 * pair + 1, n - 1)]
            _restart(rows, block, a, room)
            _restart(rows, block, b, room)
            _advance(atoms, rows, block, a, b, room, a, b)
        for i in range(n):
            if rows.state[waiting[i]] == STOPPED:
                return False
        for row in range(n_rows):
            if rows.state[row] == DONE:
                block.errors[row] = _error(rows.x, rows.residual, row, width, kind)
                rows.state[row] = JUDGED
        _settle(atoms, rows, block, threshold, most)


@_loop()
def _settle(atoms, rows, block, threshold, most):
    """Decide which rows become atoms, and which others must be pursued again."""
    n = 0
    for row in range(len(rows.x)):
        for earlier in range(row):
            if block.over[earlier] != block.known[row, earlier]:
                block.known[row, earlier] = block.over[earlier]
                if rows.state[row] == NEW:
                    continue
                if block.over[earlier]:
                    again = _would_pick(atoms, rows, block, row, earlier)
                else:
                    again = _has_picked(rows, row, atoms.n + earlier)
                if again:
                    rows.state[row] = NEW
        was = block.over[row]
        block.over[row] = block.errors[row] > threshold and n < most
        n += block.over[row]
        if block.over[row] and not was:
            _unit(rows.x, row, block.unit, row)
            for j in range(block.start.shape[1]):
                entry = block.start[row, j] * np.float32(2**15 / SCALE)
                atoms.gram[block.slot + row, j] = np.int16(np.floor(entry + np.float32(0.5)))
            atoms.off[block.slot + row] = gram_bound(rows.x.shape[1]) + rows.screened[row] / rows.norm[row]


@_loop()
def _would_pick(atoms, rows, block, row, earlier):
    """Return whether a row might have picked an earlier row that is now an atom.

    The correlation of the two is updated along the row's path by the Gram matrix, with a bound. A row that is pursued
    again unnecessarily ends on the same path.
    """
    rounding = _rounding(rows.x.shape[1])
    correlation, off = dot(rows.x, row, block.unit, earlier), rounding * rows.norm[row]
    gram_bound = atoms.off[block.slot + earlier]
    for step in range(rows.steps[row]):
        c, picked = rows.coefficients[row, step], rows.picks[row, step]
        if not _size(correlation, atoms.signed) + off < abs(c):
            return True
        if picked < atoms.n:
            correlation -= c * atoms.gram[block.slot + earlier, picked] / np.float32(SCALE)
            off += abs(c) * gram_bound
        else:
            correlation -= c * dot(block.unit, earlier, block.unit, picked - atoms.n)
            off += abs(c) * rounding
    at_end = rows.steps[row] == rows.picks.shape[1]
    return not at_end and _size(correlation, atoms.signed) + off > _RESOLVED * rows.norm[row]


@_loop()
def _has_picked(rows, row, atom):
    found = False
    for step in range(rows.steps[row]):
        found |= rows.picks[row, step] == atom
    return found


@_inlined()
def _restart(rows, block, row, room):
    """Reset a row to its first correlations."""
    if rows.state[row] != NEW:
        return
    _begin(rows, row)
    for j in range(block.start.shape[1]):
        room.correlation[row, j] = block.start[row, j]


@_inlined()
def _begin(rows, row):
    rows.bound[row], rows.step[row], rows.steps[row] = rows.screened[row], rows.norm[row] * _STEP, 0
    for at in range(rows.x.shape[1]):
        rows.residual[row, at] = rows.x[row, at]


@_loop()
def _screen(atoms, rows, room, first, last, out, to):
    """Compute the first correlations of up to GROUP rows and their bounds.

    Products of 16-bit values are written to out[to + …]. A panel serves all the rows while it is in the L1 cache. Rows
    are processed in complete tiles: entries of `out` after the last row are undefined.
    """
    core = get_thread_id()
    own = core * (GROUP // TILE)
    for row in range(first, last):
        i = row - first
        rows.norm[row], rows.screened[row] = _round(rows.x, row, SCALE, room, core, atoms.rounded[0])
        _pair(room, core, own + i // TILE, i % TILE, TILE)
        _begin(rows, row)
    for panel in range(out.shape[1] // PANEL):
        for tile in range((last - first + TILE - 1) // TILE):
            products(room.pairs, own + tile, atoms.panels, panel, out, to + tile * TILE)


@_loop()
def _screen_again(atoms, rows, row, room, space):
    """Recompute the correlations from a row's residual; their bound shrinks with it."""
    core = get_thread_id()
    own = core * (GROUP // TILE)
    norm, rows.bound[row] = _round(rows.residual, row, SCALE, room, core, atoms.rounded[0])
    rows.step[row] = norm * _STEP
    _pair(room, core, own, 0, 1)
    for panel in range(room.correlation.shape[1] // PANEL):
        products_of_one(room.pairs, own, atoms.panels, panel, room.correlation, space)
    _update(atoms, rows, row, room, space, 1, 0, 0, 0)


@_loop(fastmath={"reassoc", "contract"})
def _round(x, row, one, room, core, rounded):
    """Round a row, scaled to norm `one`, to 16 bits.

    Returns its unscaled norm, and the error bound of its products with atoms that were moved by up to `rounded`: by the
    Cauchy-Schwarz inequality, |⟨u + e, a + f⟩ - ⟨u, a⟩| ≤ |e| · |a + f| + |u| · |f|.
    """
    norm = np.float32(np.sqrt(_squared(x, row)))
    if norm < _SHORTEST:
        norm = np.float32(0)
    up = np.float32(one) / norm if norm > 0 else np.float32(0)
    moved = np.float32(0)
    for at in range(x.shape[1]):
        value = x[row, at] * up
        whole = min(np.floor(value + np.float32(0.5)), np.float32(32767))
        moved += (value - whole) * (value - whole)
        room.rounded[core, at] = np.int16(whole)
    moved = np.sqrt(moved) * np.float32(1.001 / one)
    # plus half a unit of the correlations, and the float32 error of an exact product, here and of its competitor
    return norm, norm * (moved * (1 + rounded) + rounded + np.float32(0.51) * _STEP + 2 * _rounding(x.shape[1]))


@_loop(fastmath={"reassoc", "contract"})
def _squared(x, row):
    """Return a row's squared norm in float64, without overflow or underflow."""
    squared = 0.0
    for at in range(x.shape[1]):
        squared += np.float64(x[row, at]) * x[row, at]
    return squared


@_inlined()
def gram_bound(width):
    """Return the error bound of a float32 product of atoms, rounded to a Gram entry."""
    return np.float32(0.51 / SCALE) + _rounding(width)


@_inlined()
def _rounding(width):
    """Return the error bound of a float32 product of unit vectors.

    The product has at least 16 partial sums.
    """
    return np.float32(6e-8) * np.float32(width / 16 + 8)


@_inlined()
def _pair(room, core, to_tile, i, tile):
    """Store a rounded row's pairs of neighbouring values as row i of a tile."""
    for pair in range(room.rounded.shape[1] // 2):
        low, high = np.int32(room.rounded[core, 2 * pair]), np.int32(room.rounded[core, 2 * pair + 1])
        room.pairs[to_tile, pair * tile + i] = (high << 16) | (low & 0xFFFF)


@_inlined()
def _update(atoms, rows, row, room, space, up, slot, ahead, c):
    rows.greatest[row] = subtract_and_peak(
        room.correlation, space, up, atoms.gram, slot, ahead, c, atoms.signed, room.peaks
    )


@_inlined()
def _subtract_pick(atoms, rows, block, row, room, space, slot, ahead):
    """Subtract the last pick from the correlations; rescale them if they are small.

    Rescaling uses the 16 bits fully again. Afterwards no correlation is more than twice the largest before, or the
    coefficient; nor more than the norm of the residual. If neither bound fits 16 bits the correlations are recomputed,
    which is rare as long as their unit leaves room for one more doubling. A product and the coefficient contribute half
    a unit of rounding each.
    """
    c = rows.coefficients[row, rows.steps[row] - 1]
    most = max(np.float32(rows.greatest[row]), abs(c) / rows.step[row])  # atoms of the current block are not included
    norm = np.sqrt(_squared(rows.residual, row)) if 2 * most > SCALE else 0.0
    if most > _MOST or norm > rows.step[row] * np.float32(_MOST):
        _screen_again(atoms, rows, row, room, space)
        return
    up = 1
    if atoms.signed:  # otherwise the greatest does not bound the negative ones
        while 8 * up * most <= SCALE and up * rows.bound[row] < _FINEST * rows.step[row]:
            up *= 2
    rows.step[row] /= np.float32(up)
    rows.bound[row] += abs(c) * atoms.off[slot] + np.float32(1.01) * rows.step[row]
    rows.bound[row] += rows.norm[row] * np.float32(2e-7)
    in_steps = np.int16(np.floor(c / rows.step[row] * np.float32(2**15 / SCALE) + np.float32(0.5)))
    _update(atoms, rows, row, room, space, up, slot, ahead, in_steps)


@_loop()
def _advance(atoms, rows, block, a, b, room, space_a, space_b):
    """Advance two rows until they finish or lack a row of the Gram matrix.

    The two may be the same. They alternate, so that the Gram row that one needs is prefetched while the other is
    processed.
    """
    for row in (a, b):
        if rows.state[row] == STOPPED:
            rows.state[row] = GOING
    row, other, space, other_space = a, b, space_a, space_b
    while rows.state[a] <= GOING or rows.state[b] <= GOING:
        if rows.state[row] <= GOING:
            ahead = _slot(atoms, rows, block, other) if rows.state[other] == GOING else 0
            rows.state[row] = _step(atoms, rows, block, row, room, space, max(0, ahead))
        row, other, space, other_space = other, row, other_space, space


@_inlined()
def _slot(atoms, rows, block, row):
    """Return the index of the Gram row of a row's last pick, or -1."""
    picked = rows.picks[row, rows.steps[row] - 1]
    return atoms.slot[picked] if picked < atoms.n else block.slot + picked - atoms.n


@_inlined()
def _step(atoms, rows, block, row, room, space, ahead):
    """Take one step; return the state after it."""
    step = rows.steps[row]
    if rows.norm[row] == 0:
        return DONE
    if rows.state[row] == GOING:
        slot = _slot(atoms, rows, block, row)
        if slot < 0:
            return STOPPED
        _subtract_pick(atoms, rows, block, row, room, space, slot, ahead)
    else:
        _update(atoms, rows, row, room, space, 1, 0, ahead, 0)
    picked, c = _strongest(atoms, rows, row, room, space)
    for earlier in range(min(row, len(block.over))):
        if block.over[earlier]:
            exact = dot(rows.residual, row, block.unit, earlier)
            if _size(exact, atoms.signed) > _size(c, atoms.signed):
                picked, c = atoms.n + earlier, exact
    if picked < 0 or abs(c) <= _RESOLVED * rows.norm[row]:
        return DONE
    rows.picks[row, step], rows.coefficients[row, step] = picked, c
    rows.steps[row] = step + 1
    if picked < atoms.n:
        subtract(rows.residual, row, c, atoms.exact, picked)
    else:
        subtract(rows.residual, row, c, block.unit, picked - atoms.n)
    return GOING if step + 1 < rows.picks.shape[1] else DONE


@_inlined()
def _strongest(atoms, rows, row, room, space):
    """Return the atom that correlates most with a row's residual, and the coefficient.

    The first one of equals.
    """
    limit = np.int64(_CROWD)
    while True:
        picked, c, found = _strongest_of(atoms, rows, row, room, space, limit)
        if found <= limit:
            return picked, c
        norm = np.sqrt(_squared(rows.residual, row))
        if rows.bound[row] > 8 * norm * atoms.rounded[0]:
            _screen_again(atoms, rows, row, room, space)
        limit = 2 * atoms.n  # an atom may be found twice


@_inlined()
def _strongest_of(atoms, rows, row, room, space, limit):
    """Find the strongest atom from the current 16-bit correlations.

    Gives up if more than `limit` atoms are candidates. The apparent strongest is evaluated first: its exact correlation
    determines how close others must be.
    """
    picked, c, best, found = -1, np.float32(0), np.float32(0), 0
    low = rows.greatest[row]
    n_chunks = room.peaks.shape[1] // PEAKS
    for _ in range(2):
        chunk = next_chunk(room.peaks, space, 0, low)
        while chunk < n_chunks and found <= limit:
            for first in range(chunk * CHUNK, (chunk + 1) * CHUNK, WORD):
                word = at_least(room.correlation, space, first, low, atoms.signed)
                while word != 0:
                    j = first + first_bit(word)
                    word &= word - np.uint64(1)
                    if j < atoms.n and j != picked:
                        found += 1
                        exact = dot(rows.residual, row, atoms.exact, j)
                        size = _size(exact, atoms.signed)
                        if size > best or (size == best and j < picked):
                            picked, c, best = j, exact, size
            chunk = next_chunk(room.peaks, space, chunk + 1, low)
        if rows.step[row] > 0:
            low = np.floor((best - rows.bound[row]) / rows.step[row])
            low = np.int16(min(max(low, np.float32(-32768)), np.float32(32767)))
    return picked, c, found


@_inlined()
def _size(value, signed):
    return abs(value) if signed else value


@_loop(fastmath={"reassoc", "contract"})
def _unit(x, row, out, to):
    """Write x[row] to out[to], scaled to unit norm.

    A row that has unit norm within rounding is copied, so that repeated scaling keeps the same bits. A zero row stays
    zero.
    """
    norm = np.sqrt(_squared(x, row))
    if abs(norm - 1) < _UNIT:
        norm = 1.0
    for at in range(x.shape[1]):
        out[to, at] = x[row, at] / norm if norm > 0 else np.float32(0)


@_compiled()
def append(exact, panels, first, last, rounded):
    """Scale the atoms from `first` to `last` to unit norm; fill their panels.

    The atoms are scaled in place; the panels hold them in 16 bits.
    """
    for atom in range(first, last):
        _unit(exact, atom, exact, atom)
        moved = np.float32(0)
        for at in range(exact.shape[1]):
            value = exact[atom, at] * np.float32(SCALE)
            rounded_value = np.floor(value + np.float32(0.5))
            moved += (value - rounded_value) * (value - rounded_value)
            panels[atom // PANEL, (at // 2 * PANEL + atom % PANEL) * 2 + at % 2] = np.int16(rounded_value)
        rounded[0] = max(rounded[0], np.sqrt(moved) * np.float32(1.001 / SCALE))


@_compiled(parallel=True)
def fill_gram(exact, n, gram, wanted, slots, mirrored):
    """Fill rows of a Gram matrix with exact products of atoms.

    Row `slots[i]` receives the products of the atom `wanted[i]` with all n atoms. With `mirrored`, the wanted atoms are
    the last ones in order, their rows have their own numbers, and the columns of their numbers are filled too.
    """
    n_blocks = (n + _GRAM_BLOCK - 1) // _GRAM_BLOCK
    for b in numba.prange(n_blocks):
        # if mirrored, the first blocks are the most expensive: long and short ones alternate
        first = (b // 2 if b % 2 == 0 else n_blocks - 1 - b // 2) * _GRAM_BLOCK
        for some in range(0, len(wanted), _GRAM_BLOCK):
            for few in range(first, min(first + _GRAM_BLOCK, n), _GRAM_FEW):
                for i in range(some, min(some + _GRAM_BLOCK, len(wanted))):
                    last = min(few + _GRAM_FEW, wanted[i] + 1 if mirrored else n)
                    for four in range(few, last, 4):
                        products = four_dots(exact, wanted[i], exact, four)
                        for j in range(four, min(four + 4, last)):
                            entry = np.int16(np.floor(products[j - four] * np.float32(SCALE) + np.float32(0.5)))
                            gram[slots[i], j] = entry
                            if mirrored:
                                gram[j, wanted[i]] = entry


@_compiled(parallel=True)
def fetch_gram(atoms, wanted, to, room):
    """Fill rows of a Gram matrix, from `to` on, with products from 16-bit values.

    The products are those of the atoms `wanted` with all atoms. Rows are filled in complete tiles, for which there is
    space: those after the last are undefined.
    """
    n_tiles = (len(wanted) + TILE - 1) // TILE
    for i in range(len(wanted)):
        _, bound = _round(atoms.exact, wanted[i], 2**15, room, 0, atoms.rounded[0])
        atoms.off[to + i] = np.float32(1.001) * bound
        _pair(room, 0, i // TILE, i % TILE, TILE)
    n_blocks = (room.correlation.shape[1] // PANEL + _PANELS - 1) // _PANELS
    for block in numba.prange(n_blocks):
        for tile in range(n_tiles):
            for panel in range(block * _PANELS, min((block + 1) * _PANELS, room.correlation.shape[1] // PANEL)):
                products(room.pairs, tile, atoms.panels, panel, atoms.gram, to + tile * TILE)


@_loop(fastmath={"reassoc", "contract"})
def _error(x, residual, row, width, kind):
    squared = left = projection = reconstructed = 0.0
    for i in range(x.shape[1]):
        value, rest = np.float64(x[row, i]), np.float64(residual[row, i])
        squared += value * value
        left += rest * rest
        projection += value * (value - rest)
        reconstructed += (value - rest) * (value - rest)
    if squared < _TINIEST:
        return 0.0
    if kind == RELATIVE:
        return left / squared
    if kind == SQUARED:
        return left
    if reconstructed == 0:
        return 1 / width
    return (2 - 2 * projection / np.sqrt(squared * reconstructed)) / width


@_compiled()
def errors(x, residual, width, kind, out):
    """Fill out [rows] with the errors of x - residual [rows, d] in the unit `kind`.

    0 for a zero row.
    """
    for row in range(len(x)):
        out[row] = _error(x, residual, row, width, kind)
