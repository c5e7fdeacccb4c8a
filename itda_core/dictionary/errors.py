"""Reconstruction errors of sparse codes: relative ones, and the variance explained."""

import numpy as np
import torch

_ROUNDING = 1e-12  # share of the energy below which a variance is rounding


def relative_errors(x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Return [n] |x − x'|² / |x|² of activations [n, d_model]; 0 for a zero row."""
    total = x.pow(2).sum(1)
    return torch.where(total > 0, (x - reconstruction).pow(2).sum(1) / total.clamp_min(torch.finfo(x.dtype).tiny), 0)


def variance_sums(x: torch.Tensor, reconstruction: torch.Tensor) -> np.ndarray:
    """Return [3 + d_model] float64 sums over activations [n, d_model], which add up over batches.

    They are n, Σ|x − x'|², Σ|x|² and Σx, from which `variance_explained` follows.
    """
    exact, error = x.double(), x.double() - reconstruction.double()
    parts = [torch.tensor([len(x), float(error.square().sum()), float(exact.square().sum())]).double(), exact.sum(0)]
    return torch.cat(parts).numpy()


def variance_explained(sums: np.ndarray) -> float | None:
    """Return 1 − Σ|x − x'|² / Σ|x − x̄|² from sums of `variance_sums`; None if all activations are equal.

    Unlike the relative error it counts nothing for the vector that all activations have in common.
    """
    n, residual, energy, total = sums[0], sums[1], sums[2], sums[3:]
    variance = energy - float(total @ total) / max(n, 1)
    return None if variance <= _ROUNDING * energy else 1 - residual / variance
