"""Validate and convert arguments of the API: numbers, counts, rows, sources.

Tensors, arrays and lists are accepted; a bad argument raises a ValueError that names it. This module does not import
torch: if no other module has imported it, no argument can be a tensor.
"""

import operator
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_SOURCES = "integers [n, 2], document and position"


def array_of(values: Any, name: str) -> np.ndarray:
    """Convert numbers or booleans to an array of the same shape.

    Tensors are detached from their gradients, and bfloat16 and 8-bit floats become float32.

    Args:
        values: a tensor, an array, or lists of numbers.
        name: the argument's name, for the error message.

    Raises ValueError for complex numbers, masked ones, and anything that is not an array of numbers.
    """
    try:
        if isinstance(values, list | tuple):
            found = np.asarray([_plain(each) for each in values])
        else:
            found = np.asarray(_plain(values))
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, sparse tensors, tensors without values
        raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from error
    if found.dtype.kind == "c":
        raise ValueError(f"{name}: complex numbers, where real ones were expected; take their real or imaginary part")
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name}: {found.dtype} values, where numbers were expected")
    return found


def _plain(values: Any) -> Any:
    """Convert a tensor to an array; leave anything else for numpy, which would forget a mask."""
    if np.ma.is_masked(values):
        raise ValueError("some of its values are masked: leave those rows out")
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(values, torch.Tensor):
        return values
    tensor = values.detach().cpu()
    is_known = not tensor.is_floating_point() or tensor.dtype in (torch.float16, torch.float32, torch.float64)
    return (tensor if is_known else tensor.float()).numpy()


def number(values: Any, name: str) -> int | float:
    """Return a number of any type as Python's own.

    Raises ValueError for booleans, arrays of several, and in the cases of `array_of`.
    """
    found = array_of(values, name)
    if found.ndim or found.dtype.kind == "b":
        raise ValueError(f"{name} is {str(values)[:40]!r}: it must be a number")
    return found.item()


def whole_numbers(values: Any, name: str, expected: str = "whole numbers") -> np.ndarray:
    """Convert integers to int64; a float is accepted if its value is an integer.

    Args:
        values: as `array_of` accepts it.
        name: the argument's name, for the error message.
        expected: a description of the expected values, for the error message.

    Raises ValueError for fractions, NaN, booleans, numbers beyond 64 bits, and in the cases of `array_of`.
    """
    found = array_of(values, name)
    is_float = found.dtype.kind == "f"
    # 2**63 is the first float beyond int64; NaN compares false with every bound.
    if found.dtype.kind == "b" or (is_float and not ((found == np.rint(found)) & (np.abs(found) < 2.0**63)).all()):
        odd = found[found != np.rint(found)] if is_float else found
        seen = f"{odd.flat[0]}" if odd.size else "a number beyond 64 bits"
        raise ValueError(f"{name} are {expected}: got {seen}, {found.dtype} {list(found.shape)}")
    if found.dtype == np.uint64 and found.size and found.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} are {expected}: got {found.max()}, beyond 64 bits")
    return np.require(found.astype(np.int64, copy=False), requirements=["C", "W"])  # without a warning by torch


def row_numbers(values: Any, n: int, name: str) -> np.ndarray:
    """Return [m] int64 row numbers of n activations.

    Integers are returned as they are; a boolean mask [n] is converted to the indices of its true entries.

    Raises ValueError for a mask of another length or of zeros and ones, fractions, NaN, and row numbers out of range.
    """
    found = array_of(values, name)
    if found.dtype.kind == "b":
        if found.shape != (n,):
            raise ValueError(f"{name} as a mask is [{n}], true or false for each activation: got {list(found.shape)}")
        return np.flatnonzero(found)
    expected = f"rows of the activations, whole numbers from 0 to {n - 1}, or a mask of them"
    rows = whole_numbers(found, name, expected)
    if rows.ndim != 1:
        raise ValueError(f"{name} are {expected}: got {list(rows.shape)}")
    if rows.size and not 0 <= rows.min() <= rows.max() < n:
        bad = rows[(rows < 0) | (rows >= n)][0]
        raise ValueError(f"{name} are {expected}: there is no row {bad}")
    if rows.size == n > 2 and rows.max() <= 1:
        raise ValueError(f"{name} are {expected}: got {n} zeros and ones; give a mask as booleans")
    return rows


def sources_array(values: Any, name: str, n: int | None = None) -> np.ndarray:
    """Return [n, 2] int64 sources: document and position.

    Negative values stand for an unknown source. An empty list, which has no second dimension, is no sources.

    Raises ValueError for another shape, for another number of sources than n, and in the cases of `whole_numbers`.
    """
    found = whole_numbers(values, name, _SOURCES)
    found = found.reshape(0, 2) if found.shape == (0,) else found
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"{name} are {_SOURCES}: got {found.dtype} {list(found.shape)}")
    if n is not None and len(found) != n:
        raise ValueError(f"{name} are [n, 2], document and position: got {list(found.shape)} for {n} activations")
    return found


def count(value: Any, name: str, lowest: int = 1) -> int:
    """Return a count of any integer type as a Python int.

    Raises ValueError for floats, booleans, and values below `lowest`.
    """
    try:
        found = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} is {str(value)[:40]!r}: it must be a whole number") from error
    if isinstance(value, bool):
        raise ValueError(f"{name} is {value}: it must be a whole number")
    if found < lowest:
        raise ValueError(f"{name} is {found}: it must be at least {lowest}")
    return found


def pairs(batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield batches, each a pair of activations and sources.

    Raises ValueError for anything else.
    """
    expected = "batches: expected pairs of activations and sources, such as [(activations, sources)]; got "
    try:
        each = iter(batches)
    except TypeError as error:
        raise ValueError(f"{expected}{type(batches).__name__}") from error
    for batch in each:
        try:
            activations, sources = batch
        except (TypeError, ValueError) as error:
            raise ValueError(f"{expected}{type(batch).__name__}") from error
        yield activations, sources
