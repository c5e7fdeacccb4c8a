"""Compiled arithmetic on single rows: 16-bit rounding with its error bound, norms, errors."""

import numpy as np

from itda_core.pursuit.arrays import RELATIVE, SCALE, SHORTEST, SQUARED, STEP, compiled_kernel, inlined, loop

_UNIT = 2.5e-7  # tolerance of a unit norm in float32
_TINIEST = 1e-54  # the square of SHORTEST


@loop(fastmath={"reassoc", "contract"})
def round_row(x, row, one, room, core, rounded):
    """Round a row, scaled to norm `one`, to 16 bits.

    Returns its unscaled norm, and the error bound of its products with atoms that were moved by up to `rounded`: by the
    Cauchy-Schwarz inequality, |⟨u + e, a + f⟩ - ⟨u, a⟩| ≤ |e| · |a + f| + |u| · |f|.
    """
    norm = np.float32(np.sqrt(squared_norm(x, row)))
    if norm < SHORTEST:
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
    return norm, norm * (moved * (1 + rounded) + rounded + np.float32(0.51) * STEP + 2 * rounding_bound(x.shape[1]))


@loop(fastmath={"reassoc", "contract"})
def squared_norm(x, row):
    """Return a row's squared norm in float64, without overflow or underflow."""
    squared = 0.0
    for at in range(x.shape[1]):
        squared += np.float64(x[row, at]) * x[row, at]
    return squared


@inlined()
def gram_bound(width):
    """Return the error bound of a float32 product of atoms, rounded to a Gram entry."""
    return np.float32(0.51 / SCALE) + rounding_bound(width)


@inlined()
def rounding_bound(width):
    """Return the error bound of a float32 product of unit vectors.

    The product has at least 16 partial sums.
    """
    return np.float32(6e-8) * np.float32(width / 16 + 8)


@inlined()
def store_pairs(room, core, to_tile, i, tile):
    """Store a rounded row's pairs of neighbouring values as row i of a tile."""
    for pair in range(room.rounded.shape[1] // 2):
        low, high = np.int32(room.rounded[core, 2 * pair]), np.int32(room.rounded[core, 2 * pair + 1])
        room.pairs[to_tile, pair * tile + i] = (high << 16) | (low & 0xFFFF)


@inlined()
def size_of(value, signed):
    """Return a coefficient's absolute value, or the coefficient where signs do not count."""
    return abs(value) if signed else value


@loop(fastmath={"reassoc", "contract"})
def unit_row(x, row, out, to):
    """Write x[row] to out[to], scaled to unit norm.

    A row that has unit norm within rounding is copied, so that repeated scaling keeps the same bits. A zero row stays
    zero.
    """
    norm = np.sqrt(squared_norm(x, row))
    if abs(norm - 1) < _UNIT:
        norm = 1.0
    for at in range(x.shape[1]):
        out[to, at] = x[row, at] / norm if norm > 0 else np.float32(0)


@loop(fastmath={"reassoc", "contract"})
def row_error(x, residual, row, width, kind):
    """Return the error of one row in the unit `kind`; 0 for a zero row."""
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


@compiled_kernel()
def errors(x, residual, width, kind, out):
    """Fill out [rows] with the errors of x - residual [rows, d] in the unit `kind`.

    0 for a zero row.
    """
    for row in range(len(x)):
        out[row] = row_error(x, residual, row, width, kind)
