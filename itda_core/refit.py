"""The coefficients of a sparse code fitted anew by least squares, to the atoms that pursuit picked.

Matching pursuit fits one atom at a time and never goes back, so its coefficients are not the best ones for the atoms
that it has picked. Fitting them together costs one small system a row, and leaves which atoms take part as it was;
orthogonal pursuit does so after every pick, at many times the cost.
"""

import numpy as np
import torch

from itda_core.types import Codes

RIDGE = 1e-6
"""Weight of the squared coefficients in the fit. It keeps two atoms that are nearly the same from large coefficients
that cancel, and bounds the loss: |x − x̂|² is at most the pursuit's, and this share of its squared coefficients."""
_VALUES_AT_ONCE = 1 << 22  # of the picked atoms of some rows


def refit(codes: Codes, x: torch.Tensor, atoms: torch.Tensor) -> Codes:
    """The codes with the coefficients that minimise |x − Σ c·atom|² + RIDGE · Σ c², the same atoms in each row.

    Computed in float64, on the device of x where that has it. A coefficient that comes out as 0 is left out.

    Args:
        codes: of x, in order of rows.
        x: [n, d_model] activations.
        atoms: [n_atoms, d_model] float32, unit norm.
    """
    device = x.device if x.device.type != "mps" else torch.device("cpu")  # which has no float64
    coefficient = np.empty_like(codes.coefficient)
    bounds = np.searchsorted(codes.row, np.arange(len(x) + 1))
    widest = int(np.diff(bounds).max(initial=1))
    at_once = max(1, _VALUES_AT_ONCE // (max(widest, 1) * atoms.shape[1]))
    for first in range(0, len(x), at_once):
        own = np.diff(bounds[first : first + at_once + 1])
        here = slice(bounds[first], bounds[first + len(own)])
        place = np.arange(widest) < own[:, None]  # [rows, widest]: where a row has a term
        picked = np.zeros(place.shape, np.int64)
        picked[place] = codes.atom[here]
        has_term = torch.from_numpy(place).to(device)
        chosen = atoms[torch.from_numpy(picked)].to(device, torch.float64) * has_term[:, :, None]
        rows = x[first : first + len(own)].to(device, torch.float64)
        gram = chosen @ chosen.transpose(1, 2)
        gram.diagonal(dim1=1, dim2=2).add_(torch.where(has_term, RIDGE, 1.0))  # a place without a term solves to 0
        triangle = torch.linalg.cholesky(gram)
        fitted = torch.cholesky_solve(chosen @ rows[:, :, None], triangle)[:, :, 0]
        coefficient[here] = fitted.float().cpu().numpy()[place]
    kept = coefficient != 0
    return Codes(codes.row[kept], codes.atom[kept], coefficient[kept])
