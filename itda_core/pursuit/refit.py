"""Refit the coefficients of sparse codes by least squares, with fixed supports.

Matching pursuit fits one atom at a time and never revises, so its coefficients are not optimal for the atoms it picked.
A joint fit costs one small linear system per row and keeps the set of atoms; orthogonal pursuit does so after every
pick, at many times the cost.

The normal equations are solved by Cholesky factorisation in float64, with products of atoms computed afresh: those of a
16-bit Gram matrix would be too coarse for nearly equal atoms. On the CPU compiled loops process one row per core;
elsewhere torch processes many rows at a time.
"""

from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from numba.np.ufunc.parallel import get_thread_id

from itda_core.common.types import Codes
from itda_core.pursuit import arrays
from itda_core.pursuit.compiling import compiled
from itda_core.pursuit.protocol import finite

RIDGE = 1e-6
"""Weight of the squared coefficients in the fit (ridge penalty). It prevents nearly equal atoms from getting large
coefficients that cancel, and bounds the loss: |x − x̂|² is at most that of pursuit plus this share of pursuit's squared
coefficients."""
_VALUES_AT_ONCE = 1 << 22  # values of the picked atoms, or of the rows, of a block

_compiled: Any = partial(compiled, error_model="numpy")


def refit(codes: Codes, x: torch.Tensor, atoms: torch.Tensor) -> Codes:
    """Return the codes with coefficients that minimise |x − Σ c·atom|² + RIDGE · Σ c².

    Each row keeps its atoms. Computed in float64, on the device of x if it supports that. A coefficient that becomes 0
    is left out.

    Args:
        codes: of x, in order of rows.
        x: [n, d_model] activations.
        atoms: [n_atoms, d_model] float32, unit norm.
    """
    coefficient = np.empty_like(codes.coefficient)
    bounds = np.searchsorted(codes.row, np.arange(len(x) + 1))
    widest = int(np.diff(bounds).max(initial=1))
    if x.device.type == "cpu":
        _fit_here(bounds, widest, codes.atom, x, atoms, coefficient)
    else:
        _fit_on_device(bounds, widest, codes.atom, x, atoms, coefficient)
    kept = coefficient != 0
    return Codes(codes.row[kept], codes.atom[kept], coefficient[kept])


def _fit_here(
    bounds: np.ndarray, widest: int, atom: np.ndarray, x: torch.Tensor, atoms: torch.Tensor, out: np.ndarray
) -> None:
    cores, exact = numba.get_num_threads(), atoms.numpy()
    picked = np.empty((cores, widest, x.shape[1]))
    system = np.empty((cores, widest + 1, widest))
    at_once = max(1, _VALUES_AT_ONCE // x.shape[1])
    for first in range(0, len(x), at_once):
        rows = finite(x[first : first + at_once], first).numpy()
        with arrays.lock:
            _fit(bounds[first : first + len(rows) + 1], atom, rows, exact, RIDGE, picked, system, out)


@_compiled(parallel=True)
def _fit(bounds, atom, x, atoms, ridge, picked, system, out):
    """Fill out[bounds[0] : bounds[-1]] with the coefficients of rows x [n, d].

    `picked` [threads, widest, d] and `system` [threads, widest + 1, widest] are float64 buffers: the atoms of a row,
    and the lower triangle of its equations with their right-hand sides in the last line.
    """
    for row in numba.prange(len(x)):
        _fit_row(bounds[row], bounds[row + 1], atom, x, row, atoms, ridge, picked, system, get_thread_id(), out)


@_compiled(_nrt=False, fastmath={"reassoc", "contract"})
def _fit_row(first, last, atom, x, row, atoms, ridge, picked, system, core, out):
    n, width = last - first, x.shape[1]
    right = system.shape[1] - 1
    for i in range(n):
        of_x = 0.0
        for at in range(width):
            value = np.float64(atoms[atom[first + i], at])
            picked[core, i, at] = value
            of_x += value * x[row, at]
        system[core, right, i] = of_x
        for j in range(i + 1):
            product = 0.0
            for at in range(width):
                product += picked[core, i, at] * picked[core, j, at]
            system[core, i, j] = product
        system[core, i, i] += ridge
    for i in range(n):  # L·Lᵀ in place, and L·y = right in the last line
        for j in range(i + 1):
            rest = system[core, i, j]
            for at in range(j):
                rest -= system[core, i, at] * system[core, j, at]
            system[core, i, j] = np.sqrt(rest) if i == j else rest / system[core, j, j]
        rest = system[core, right, i]
        for at in range(i):
            rest -= system[core, i, at] * system[core, right, at]
        system[core, right, i] = rest / system[core, i, i]
    for i in range(n - 1, -1, -1):  # Lᵀ·c = y
        c = system[core, right, i] / system[core, i, i]
        for at in range(i):
            system[core, right, at] -= system[core, i, at] * c
        out[first + i] = c


def _fit_on_device(
    bounds: np.ndarray, widest: int, atom: np.ndarray, x: torch.Tensor, atoms: torch.Tensor, out: np.ndarray
) -> None:
    device = x.device if x.device.type != "mps" else torch.device("cpu")  # MPS has no float64
    at_once = max(1, _VALUES_AT_ONCE // (widest * atoms.shape[1]))
    for first in range(0, len(x), at_once):
        own = np.diff(bounds[first : first + at_once + 1])
        here = slice(bounds[first], bounds[first + len(own)])
        place = np.arange(widest) < own[:, None]  # [rows, widest]: True for terms
        picked = np.zeros(place.shape, np.int64)
        picked[place] = atom[here]
        has_term = torch.from_numpy(place).to(device)
        chosen = atoms[torch.from_numpy(picked)].to(device, torch.float64) * has_term[:, :, None]
        rows = x[first : first + len(own)].to(device, torch.float64)
        gram = chosen @ chosen.transpose(1, 2)
        gram.diagonal(dim1=1, dim2=2).add_(torch.where(has_term, RIDGE, 1.0))  # padding solves to 0
        triangle = torch.linalg.cholesky(gram)
        fitted = torch.cholesky_solve(chosen @ rows[:, :, None], triangle)[:, :, 0]
        out[here] = fitted.float().cpu().numpy()[place]
