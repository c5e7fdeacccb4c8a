"""Compiled loops of matching pursuit on the CPU.

A row's correlations with all atoms are kept as 16-bit integers, from products of 16-bit values, with an error bound.
They are only a filter: all atoms that may be the strongest within the bound are correlated exactly with the row's
residual, and the strongest of these is picked. So a path depends on the row and the atoms alone: not on the surrounding
rows, the batches or the threads.
"""

import numba
import numpy as np
from numba.np.ufunc.parallel import get_thread_id

from itda_core.pursuit.arrays import (
    DONE,
    GOING,
    GROUP,
    JUDGED,
    NEW,
    RESOLVED,
    SCALE,
    STEP,
    STOPPED,
    compiled_kernel,
    inlined,
    loop,
)
from itda_core.pursuit.rounding import (
    gram_bound,
    round_row,
    rounding_bound,
    row_error,
    size_of,
    squared_norm,
    store_pairs,
    unit_row,
)
from itda_core.pursuit.simd import (
    CHUNK,
    PANEL,
    PEAKS,
    TILE,
    WORD,
    at_least,
    dot,
    first_bit,
    next_chunk,
    products,
    products_of_one,
    subtract,
    subtract_and_peak,
)

_MOST = SCALE - 500  # maximum of 16-bit correlations, with headroom for their bound
_FINEST = 256  # 16-bit units per bound: a finer resolution gains nothing
_CROWD = 64  # with more candidates than this it is cheaper to recompute all correlations


@compiled_kernel(parallel=True)
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


@compiled_kernel(parallel=True)
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
                block.errors[row] = row_error(rows.x, rows.residual, row, width, kind)
                rows.state[row] = JUDGED
        _settle(atoms, rows, block, threshold, most)


@loop()
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
            unit_row(rows.x, row, block.unit, row)
            for j in range(block.start.shape[1]):
                entry = block.start[row, j] * np.float32(2**15 / SCALE)
                atoms.gram[block.slot + row, j] = np.int16(np.floor(entry + np.float32(0.5)))
            atoms.off[block.slot + row] = gram_bound(rows.x.shape[1]) + rows.screened[row] / rows.norm[row]


@loop()
def _would_pick(atoms, rows, block, row, earlier):
    """Return whether a row might have picked an earlier row that is now an atom.

    The correlation of the two is updated along the row's path by the Gram matrix, with a bound. A row that is pursued
    again unnecessarily ends on the same path.
    """
    rounding = rounding_bound(rows.x.shape[1])
    correlation, off = dot(rows.x, row, block.unit, earlier), rounding * rows.norm[row]
    gram_bound = atoms.off[block.slot + earlier]
    for step in range(rows.steps[row]):
        c, picked = rows.coefficients[row, step], rows.picks[row, step]
        if not size_of(correlation, atoms.signed) + off < abs(c):
            return True
        if picked < atoms.n:
            correlation -= c * atoms.gram[block.slot + earlier, picked] / np.float32(SCALE)
            off += abs(c) * gram_bound
        else:
            correlation -= c * dot(block.unit, earlier, block.unit, picked - atoms.n)
            off += abs(c) * rounding
    at_end = rows.steps[row] == rows.picks.shape[1]
    return not at_end and size_of(correlation, atoms.signed) + off > RESOLVED * rows.norm[row]


@loop()
def _has_picked(rows, row, atom):
    found = False
    for step in range(rows.steps[row]):
        found |= rows.picks[row, step] == atom
    return found


@inlined()
def _restart(rows, block, row, room):
    """Reset a row to its first correlations."""
    if rows.state[row] != NEW:
        return
    _begin(rows, row)
    for j in range(block.start.shape[1]):
        room.correlation[row, j] = block.start[row, j]


@inlined()
def _begin(rows, row):
    rows.bound[row], rows.step[row], rows.steps[row] = rows.screened[row], rows.norm[row] * STEP, 0
    for at in range(rows.x.shape[1]):
        rows.residual[row, at] = rows.x[row, at]


@loop()
def _screen(atoms, rows, room, first, last, out, to):
    """Compute the first correlations of up to GROUP rows and their bounds.

    Products of 16-bit values are written to out[to + …]. A panel serves all the rows while it is in the L1 cache. Rows
    are processed in complete tiles: entries of `out` after the last row are undefined.
    """
    core = get_thread_id()
    own = core * (GROUP // TILE)
    for row in range(first, last):
        i = row - first
        rows.norm[row], rows.screened[row] = round_row(rows.x, row, SCALE, room, core, atoms.rounded[0])
        store_pairs(room, core, own + i // TILE, i % TILE, TILE)
        _begin(rows, row)
    for panel in range(out.shape[1] // PANEL):
        for tile in range((last - first + TILE - 1) // TILE):
            products(room.pairs, own + tile, atoms.panels, panel, out, to + tile * TILE)


@loop()
def _screen_again(atoms, rows, row, room, space):
    """Recompute the correlations from a row's residual; their bound shrinks with it."""
    core = get_thread_id()
    own = core * (GROUP // TILE)
    norm, rows.bound[row] = round_row(rows.residual, row, SCALE, room, core, atoms.rounded[0])
    rows.step[row] = norm * STEP
    store_pairs(room, core, own, 0, 1)
    for panel in range(room.correlation.shape[1] // PANEL):
        products_of_one(room.pairs, own, atoms.panels, panel, room.correlation, space)
    _update(atoms, rows, row, room, space, 1, 0, 0, 0)


@inlined()
def _update(atoms, rows, row, room, space, up, slot, ahead, c):
    rows.greatest[row] = subtract_and_peak(
        room.correlation, space, up, atoms.gram, slot, ahead, c, atoms.signed, room.peaks
    )


@inlined()
def _subtract_pick(atoms, rows, block, row, room, space, slot, ahead):
    """Subtract the last pick from the correlations; rescale them if they are small.

    Rescaling uses the 16 bits fully again. Afterwards no correlation is more than twice the largest before, or the
    coefficient; nor more than the norm of the residual. If neither bound fits 16 bits the correlations are recomputed,
    which is rare as long as their unit leaves room for one more doubling. A product and the coefficient contribute half
    a unit of rounding each.
    """
    c = rows.coefficients[row, rows.steps[row] - 1]
    most = max(np.float32(rows.greatest[row]), abs(c) / rows.step[row])  # atoms of the current block are not included
    norm = np.sqrt(squared_norm(rows.residual, row)) if 2 * most > SCALE else 0.0
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


@loop()
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


@inlined()
def _slot(atoms, rows, block, row):
    """Return the index of the Gram row of a row's last pick, or -1."""
    picked = rows.picks[row, rows.steps[row] - 1]
    return atoms.slot[picked] if picked < atoms.n else block.slot + picked - atoms.n


@inlined()
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
            if size_of(exact, atoms.signed) > size_of(c, atoms.signed):
                picked, c = atoms.n + earlier, exact
    if picked < 0 or abs(c) <= RESOLVED * rows.norm[row]:
        return DONE
    rows.picks[row, step], rows.coefficients[row, step] = picked, c
    rows.steps[row] = step + 1
    if picked < atoms.n:
        subtract(rows.residual, row, c, atoms.exact, picked)
    else:
        subtract(rows.residual, row, c, block.unit, picked - atoms.n)
    return GOING if step + 1 < rows.picks.shape[1] else DONE


@inlined()
def _strongest(atoms, rows, row, room, space):
    """Return the atom that correlates most with a row's residual, and the coefficient.

    The first one of equals.
    """
    limit = np.int64(_CROWD)
    while True:
        picked, c, found = _strongest_of(atoms, rows, row, room, space, limit)
        if found <= limit:
            return picked, c
        norm = np.sqrt(squared_norm(rows.residual, row))
        if rows.bound[row] > 8 * norm * atoms.rounded[0]:
            _screen_again(atoms, rows, row, room, space)
        limit = 2 * atoms.n  # an atom may be found twice


@inlined()
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
                        size = size_of(exact, atoms.signed)
                        if size > best or (size == best and j < picked):
                            picked, c, best = j, exact, size
            chunk = next_chunk(room.peaks, space, chunk + 1, low)
        if rows.step[row] > 0:
            low = np.floor((best - rows.bound[row]) / rows.step[row])
            low = np.int16(min(max(low, np.float32(-32768)), np.float32(32767)))
    return picked, c, found
