"""Arrays, states and units shared by the compiled loops of pursuit."""

import threading
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np

from itda_core.pursuit.compiling import compiled
from itda_core.pursuit.simd import TILE

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
RESOLVED = np.float32(2**-21)  # share of |x| below which a coefficient is rounding error of the previous ones
STEP = np.float32(2**15 / SCALE**2)  # unit of the 16-bit first correlations, as a share of |x|
SHORTEST = np.float32(1e-27)  # rows of a smaller norm count as zero: their residuals are below float32's precision
compiled_kernel: Any = partial(compiled, error_model="numpy")
loop: Any = partial(compiled_kernel, _nrt=False)  # reference counting of arrays would cost more than a step
inlined: Any = partial(loop, forceinline=True)
