"""Validate real-valued arguments of the Python API and convert them to tensors."""

from typing import Any

import numpy as np
import torch

from itda_core.common.arguments import array_of


def real_tensor(values: Any, name: str) -> torch.Tensor:
    """Convert real numbers to a floating-point tensor without gradients.

    A tensor stays on its device; arrays and lists go to the CPU.

    Args:
        values: a tensor, an array, or lists of numbers, of any shape.
        name: the argument's name, for the error message.

    Raises ValueError for complex numbers, booleans, sparse tensors, and anything that is not an array of numbers.
    """
    if isinstance(values, torch.Tensor) and values.is_floating_point() and _has_rows(values):
        return values.detach()
    found = array_of(values, name)
    if found.dtype.kind == "b":
        raise ValueError(f"{name}: true and false, where numbers were expected")
    is_float = found.dtype in (np.float16, np.float32, np.float64)  # native byte order
    # A read-only array is copied: torch warns about such arrays, although nothing here writes to it.
    return torch.from_numpy(np.require(found, None if is_float else np.float64, ["C", "W"]))


def activations_tensor(values: Any, d_model: int | None = None, name: str = "activations") -> torch.Tensor:
    """Convert activations [n, d_model] as `real_tensor` does.

    Raises ValueError for another shape too.
    """
    found = real_tensor(values, name)
    if found.ndim != 2 or found.shape[1] == 0 or (d_model is not None and found.shape[1] != d_model):
        raise ValueError(f"{name}: expected activations [n, {d_model or 'd'}], one a row; got {list(found.shape)}")
    return found


def _has_rows(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds its values in rows: neither sparse nor without values."""
    return tensor.layout == torch.strided and not tensor.is_meta
