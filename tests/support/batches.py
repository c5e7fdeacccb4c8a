"""Activations cut into batches."""

from collections.abc import Iterator

import torch


def in_batches(x: torch.Tensor, sources: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield activations and their sources, `size` rows at a time."""
    for start in range(0, len(x), size):
        yield x[start : start + size], sources[start : start + size]
