"""Relative reconstruction error of sparse codes."""

import torch


def relative_errors(x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """Return [n] |x − x'|² / |x|² of activations [n, d_model]; 0 for a zero row."""
    total = x.pow(2).sum(1)
    return torch.where(total > 0, (x - reconstruction).pow(2).sum(1) / total.clamp_min(torch.finfo(x.dtype).tiny), 0)
