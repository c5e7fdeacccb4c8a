"""Benchmark of building and encoding against the plain algorithm.

Implements `itda bench pursuit`: both run on the same rows in one run.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from itda_core.benchmarks.activations import Activations
from itda_core.benchmarks.machine import Machine, measure_machine, timed, timed_by_turns
from itda_core.benchmarks.pursuit.memory import encode_memory
from itda_core.benchmarks.pursuit.results import PursuitBench, PursuitReport, SequentialResult, SizeResult
from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings, Scan
from itda_core.dictionary.build import build_dictionary
from itda_core.dictionary.builder import DictionaryBuilder
from itda_core.dictionary.dictionary import Dictionary
from itda_core.pursuit.reference import plain_build, plain_pursuit

_LOWEST = 1e-6  # lower end of the search for a threshold
_BUILDS = 24  # maximum number of builds of a search: bisects the range more finely than dictionaries can differ
_WARM_UP_ROWS = 600
_SKLEARN_SECONDS = 5.0  # it may take a second per row

Say = Callable[[str], None]
"""Function that receives a progress message."""
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def bench_pursuit(data: Activations, settings: PursuitBench, say: Say) -> PursuitReport:
    """Run the benchmark.

    Raises UserError if there are too few activations for every size.
    """
    x, sources = data.x, data.sources
    held_back = x[-settings.encode_rows :]
    available = len(x) - len(held_back)
    sizes = [size for size in settings.sizes if math.ceil(size * settings.least_rows) <= available]
    if not sizes:
        least = math.ceil(min(settings.sizes) * settings.least_rows) + settings.encode_rows
        raise UserError(f"{data.origin} has {len(x):,} activations: give {least:,} or more")
    say("measuring the machine, compiling the loops")
    machine = measure_machine(x.shape[1])
    _warm_up(x, sources, settings)
    rows = []
    for size in sizes:
        n = min(available, max(math.ceil(size * settings.least_rows), settings.plain_work // size))
        say(f"{size:,} atoms: looking for the threshold on {n:,} rows")
        bound = rows[-1].threshold if rows and rows[-1].atoms < size and rows[-1].build_rows >= n else 1.0
        threshold = find_threshold(x[:n], sources[:n], size, settings, bound)
        rows.append(_bench_size(x[:n], sources[:n], held_back, threshold, settings, machine, say))
    nearest = min(range(len(rows)), key=lambda at: abs(sizes[at] - settings.sequential_atoms))
    n = rows[nearest].build_rows
    say(f"{rows[nearest].atoms:,} atoms: the sequential scan")
    sequential = bench_sequential(x[:n], sources[:n], rows[nearest].threshold, settings)
    origin = {"origin": data.origin, "rows": len(x), "d_model": x.shape[1]}
    left_out = [size for size in settings.sizes if size not in sizes]
    return PursuitReport(rows, sequential, machine, origin, settings, left_out)


def batches_of(x: torch.Tensor, sources: torch.Tensor, size: int) -> Batches:
    """Split x [n, d] and sources [n, 2] into batches of `size` rows.

    The last batch may be shorter.
    """
    return zip(x.split(size), sources.split(size), strict=True)


def find_threshold(
    x: torch.Tensor, sources: torch.Tensor, atoms: int, settings: PursuitBench, highest: float = 1.0
) -> float:
    """Find the relative error that gives about `atoms` atoms from x [n, d].

    The search is a bisection on a logarithmic scale.

    Args:
        x: [n, d].
        sources: [n, 2].
        atoms: target number, within the settings' tolerance.
        settings: how to build.
        highest: upper end of the range; the threshold of a smaller dictionary from as many rows is a good bound.

    Raises:
        UserError: no threshold gives that size.
    """
    low, high = math.log(_LOWEST), math.log(highest)
    for _ in range(_BUILDS):
        middle = (low + high) / 2
        n = _atoms_at(x, sources, math.exp(middle), math.floor(atoms * (1 + settings.tolerance)), settings)
        if abs(n - atoms) <= settings.tolerance * atoms:
            return math.exp(middle)
        low, high = (middle, high) if n > atoms else (low, middle)
    raise UserError(f"no threshold gives about {atoms:,} atoms from {len(x):,} of these activations: give more")


def bench_sequential(
    x: torch.Tensor, sources: torch.Tensor, threshold: float, settings: PursuitBench
) -> SequentialResult:
    """Compare the scans on x [n, d].

    The sequential scan is also compared with itself at several batch sizes.
    """

    def build(scan: Scan, batch_rows: int, n: int = len(x)) -> Dictionary:
        batches = batches_of(x[:n], sources[:n], batch_rows)
        return build_dictionary(batches, settings.l0, threshold, scan=scan, init="empty")

    sequential_seconds, sequential = timed(lambda: build("sequential", settings.batch_rows), settings.repeats)
    batch_seconds, batch = timed(lambda: build("batch", settings.batch_rows), settings.repeats)
    same_rows = min(settings.identical_rows, len(x))
    built = [build("sequential", size, same_rows) for size in settings.identical_batches]
    return SequentialResult(
        threshold=threshold,
        rows=len(x),
        sequential_atoms=len(sequential),
        batch_atoms=len(batch),
        sequential_seconds=sequential_seconds,
        batch_seconds=batch_seconds,
        sequential_ratio=sequential_seconds / batch_seconds,
        sequential_identical=len({_bytes(dictionary) for dictionary in built}) == 1,
        batches=settings.identical_batches,
        identical_rows=same_rows,
    )


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the intersection over union of two lists of sources.

    The lists are [n, 2] and [m, 2]; 1 if both are empty.
    """
    first, second = (set(map(tuple, sources.tolist())) for sources in (a, b))
    return len(first & second) / len(first | second) if first or second else 1.0


def sklearn_rows_per_second(atoms: torch.Tensor, x: torch.Tensor, l0: int) -> float:
    """Return the rows per second of scikit-learn's orthogonal pursuit.

    It decomposes x [n, d] over atoms [n_atoms, d] with a precomputed Gram matrix.
    """
    from sklearn.linear_model import orthogonal_mp_gram

    gram, products = (atoms @ atoms.T).numpy(), (atoms @ x.T).numpy()
    steps, spent, done = min(l0, len(atoms)), 0.0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns if a row needs fewer atoms than l0
        while done < len(x) and spent < _SKLEARN_SECONDS:
            spent += timed(partial(orthogonal_mp_gram, gram, products[:, done], n_nonzero_coefs=steps))[0]
            done += 1
    return done / spent


def _bench_size(
    x: torch.Tensor,
    sources: torch.Tensor,
    held_back: torch.Tensor,
    threshold: float,
    settings: PursuitBench,
    machine: Machine,
    say: Say,
) -> SizeResult:
    fast_seconds, fast = timed(lambda: _fast_build(x, sources, threshold, settings), settings.repeats)
    say(f"{len(fast):,} atoms: built in {fast_seconds:.1f} s, now by the plain algorithm")
    plain_seconds, (_, plain_sources, _) = timed(
        lambda: plain_build(batches_of(x, sources, settings.batch_rows), settings.l0, threshold)
    )
    say(f"{len(fast):,} atoms: built in {plain_seconds:.1f} s by it; encoding")
    speed = encode_speed(fast, held_back, held_back[: settings.plain_encode_rows], settings)
    memory = encode_memory(fast.atoms, held_back, settings.l0)
    per_row = 1 / speed["fast_rows_per_second"]
    return SizeResult(
        atoms=len(fast),
        threshold=threshold,
        build_rows=len(x),
        plain_build_seconds=plain_seconds,
        fast_build_seconds=fast_seconds,
        build_ratio=plain_seconds / fast_seconds,
        iou=iou(fast.sources, plain_sources),
        **speed,
        peak_mb=None if memory is None else memory.peak_mb,
        bandwidth_fraction=settings.l0 * len(fast) * 2 / per_row / (machine.bandwidth_gb_s * 1e9),
        product_fraction=2 * x.shape[1] * len(fast) / per_row / (machine.product_gflop_s * 1e9),
        sklearn_rows_per_second=sklearn_rows_per_second(fast.atoms, held_back[: settings.sklearn_rows], settings.l0),
    )


def encode_speed(
    dictionary: Dictionary, x: torch.Tensor, plain_x: torch.Tensor, settings: PursuitBench
) -> dict[str, float]:
    """Measure the encoding speed on x [n, d], and of the plain algorithm on plain_x.

    plain_x is [m, d]. The keys are the fields of `SizeResult`.
    """
    fresh = Dictionary(dictionary.atoms, dictionary.sources, DictionarySettings(l0=settings.l0))
    first_seconds, _ = timed(lambda: fresh.encode(x[:1]))
    row_seconds, _ = timed(lambda: fresh.encode(x[:1]), settings.repeats)
    fast_seconds, plain_seconds = timed_by_turns(
        lambda: fresh.encode(x), lambda: _plain_encode(fresh.atoms, plain_x, settings), settings.repeats
    )
    return {
        "plain_rows_per_second": len(plain_x) / plain_seconds,
        "fast_rows_per_second": len(x) / fast_seconds,
        "encode_ratio": (plain_seconds / len(plain_x)) / (fast_seconds / len(x)),
        "prepare_seconds": max(0.0, first_seconds - row_seconds),
    }


def _plain_encode(atoms: torch.Tensor, x: torch.Tensor, settings: PursuitBench) -> None:
    for part in x.split(settings.batch_rows):
        plain_pursuit(atoms, part, settings.l0)


def _fast_build(x: torch.Tensor, sources: torch.Tensor, threshold: float, settings: PursuitBench) -> Dictionary:
    batches = batches_of(x, sources, settings.batch_rows)
    return build_dictionary(batches, settings.l0, threshold, error="relative", scan="batch", init="frequent")


def _atoms_at(x: torch.Tensor, sources: torch.Tensor, threshold: float, most: int, settings: PursuitBench) -> int:
    """Return the number of atoms of a fast build.

    A build that exceeds `most` is stopped early, since it only gets slower.
    """
    builder = DictionaryBuilder(DictionarySettings(l0=settings.l0, threshold=threshold, scan="batch", init="frequent"))
    for batch, labels in batches_of(x, sources, settings.batch_rows):
        builder.add(batch, labels)
        if builder.n_atoms > most:
            break
    return builder.n_atoms


def _warm_up(x: torch.Tensor, sources: torch.Tensor, settings: PursuitBench) -> None:
    """Run every path once on a few rows, so that compilation is not timed."""
    few, labels = x[:_WARM_UP_ROWS], sources[:_WARM_UP_ROWS]
    bench_sequential(few, labels, 0.1, settings)
    _fast_build(few, labels, 0.1, settings).encode(few)
    plain_build(batches_of(few, labels, settings.batch_rows), settings.l0, 0.1)


def _bytes(dictionary: Dictionary) -> bytes:
    parts: Sequence[np.ndarray] = (dictionary.atoms.numpy(), dictionary.sources.numpy())
    return b"".join(part.tobytes() for part in parts)
