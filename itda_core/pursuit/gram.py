"""Compiled loops that append atoms and fill rows of their Gram matrix."""

import numba
import numpy as np

from itda_core.pursuit.arrays import SCALE, compiled_kernel
from itda_core.pursuit.rounding import round_row, store_pairs, unit_row
from itda_core.pursuit.simd import PANEL, TILE, four_dots, products

_GRAM_BLOCK = 64  # atoms that stay in a core's L2 cache while rows of the Gram matrix are computed,
_GRAM_FEW = 16  # and those of them that stay in its L1 cache
_PANELS = 64  # panels that stay in the L2 cache while rows of the Gram matrix are fetched


@compiled_kernel()
def append(exact, panels, first, last, rounded):
    """Scale the atoms from `first` to `last` to unit norm; fill their panels.

    The atoms are scaled in place; the panels hold them in 16 bits.
    """
    for atom in range(first, last):
        unit_row(exact, atom, exact, atom)
        moved = np.float32(0)
        for at in range(exact.shape[1]):
            value = exact[atom, at] * np.float32(SCALE)
            rounded_value = np.floor(value + np.float32(0.5))
            moved += (value - rounded_value) * (value - rounded_value)
            panels[atom // PANEL, (at // 2 * PANEL + atom % PANEL) * 2 + at % 2] = np.int16(rounded_value)
        rounded[0] = max(rounded[0], np.sqrt(moved) * np.float32(1.001 / SCALE))


@compiled_kernel(parallel=True)
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


@compiled_kernel(parallel=True)
def fetch_gram(atoms, wanted, to, room):
    """Fill rows of a Gram matrix, from `to` on, with products from 16-bit values.

    The products are those of the atoms `wanted` with all atoms. Rows are filled in complete tiles, for which there is
    space: those after the last are undefined.
    """
    n_tiles = (len(wanted) + TILE - 1) // TILE
    for i in range(len(wanted)):
        _, bound = round_row(atoms.exact, wanted[i], 2**15, room, 0, atoms.rounded[0])
        atoms.off[to + i] = np.float32(1.001) * bound
        store_pairs(room, 0, i // TILE, i % TILE, TILE)
    n_blocks = (room.correlation.shape[1] // PANEL + _PANELS - 1) // _PANELS
    for block in numba.prange(n_blocks):
        for tile in range(n_tiles):
            for panel in range(block * _PANELS, min((block + 1) * _PANELS, room.correlation.shape[1] // PANEL)):
                products(room.pairs, tile, atoms.panels, panel, atoms.gram, to + tile * TILE)
