"""Performance bounds of the machine, as a reference for the speed of pursuit."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch

T = TypeVar("T")

_READ_BYTES = 1 << 29  # far larger than any cache
_PRODUCT = (256, 16_384)  # the number of rows of a pursuit block, and the atoms of a large dictionary
_TRIES = 5
_ENOUGH_SECONDS = 8.0  # longer measurements are robust to noise, and the total time is limited


@dataclass(frozen=True)
class Machine:
    """Measured performance of the machine."""

    cores: int
    """Number of cores that this process may use."""
    bandwidth_gb_s: float
    """Memory bandwidth for reading with all cores, in 10⁹ bytes per second."""
    product_gflop_s: float
    """Throughput of float32 matrix products, in 10⁹ floating-point operations per second; a multiply-add counts as
    two."""


def measure_machine(d_model: int) -> Machine:
    """Measure this machine, in about a second.

    The best of a few tries is taken, since the results are upper bounds.

    Args:
        d_model: the inner dimension of the products, since a short one slows them down.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    data = torch.ones(_READ_BYTES // 4)
    rows, atoms = _PRODUCT
    left, right = torch.randn(rows, d_model), torch.randn(atoms, d_model).T
    read_seconds = min(_once(data.sum) for _ in range(_TRIES))
    product_seconds = min(_once(lambda: left @ right) for _ in range(2 * _TRIES))
    return Machine(cores, _READ_BYTES / read_seconds / 1e9, 2 * rows * atoms * d_model / product_seconds / 1e9)


def timed(call: Callable[[], T], repeats: int = 1, clock: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """Return the median seconds of `repeats` calls, by `clock`, and the last call's result.

    Long calls are not repeated.
    """
    seconds: list[float] = []
    while True:
        start = clock()
        result = call()
        seconds.append(clock() - start)
        if len(seconds) >= repeats or sum(seconds) > _ENOUGH_SECONDS:
            return median(seconds), result


def timed_by_turns(a: Callable[[], object], b: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of two alternating calls.

    Alternation makes changes of the machine's speed affect both.
    """
    seconds: list[tuple[float, float]] = []
    while len(seconds) < repeats and sum(map(sum, seconds)) <= _ENOUGH_SECONDS:
        seconds.append((_once(a), _once(b)))
    return median(pair[0] for pair in seconds), median(pair[1] for pair in seconds)


def _once(call: Callable[[], object]) -> float:
    return timed(call)[0]
