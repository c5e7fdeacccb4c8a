"""Benchmark of dictionaries at the widths of large models: `itda bench scale`.

It measures the cost of a dictionary of Llama-3.1 70B or 405B on this machine. Since their activations are not
available locally, real ones of a small model are embedded in the wide space by a random rotation, with noise in every
direction: as many atoms, as wide, and as anisotropic as activations from NDIF.
"""

import math
import time
from collections.abc import Callable

import torch

from itda_core.benchmarks.activations import Activations
from itda_core.benchmarks.machine import measure_machine, timed
from itda_core.benchmarks.pursuit.memory import peak_bytes, restart_peak
from itda_core.benchmarks.pursuit.run import batches_of
from itda_core.benchmarks.scale.results import ScaleBench, ScalePlan, ScaleReport, ScaleResult
from itda_core.build.estimate import CODE_BYTES, kept_bytes
from itda_core.common.errors import UserError
from itda_core.common.settings import BuildSettings, DictionarySettings, WindowSettings
from itda_core.dictionary.builder import DictionaryBuilder
from itda_core.dictionary.dictionary import Dictionary

_ENTRY, _GRAM_ENTRY = 4, 2  # bytes of an atom's entry, and of one of the Gram matrix

Say = Callable[[str], None]
"""Function that receives a progress message."""


class WideSpace:
    """A high-dimensional space in which narrower activations are embedded."""

    def __init__(self, d_model: int, width: int, noise: float) -> None:
        """Generate the rotation, deterministic for the same dimensions.

        Args:
            d_model: dimension of the embedded activations.
            width: dimension of the space, at least as large.
            noise: share of the squared norm that is isotropic noise.
        """
        generator = torch.Generator().manual_seed(0)
        self._rotation = torch.linalg.qr(torch.randn(width, d_model, generator=generator))[0].T.contiguous()
        self._scale = math.sqrt(noise / (1 - noise) / width)
        self._noise = torch.Generator().manual_seed(1)

    def lay(self, x: torch.Tensor) -> torch.Tensor:
        """Embed x [n, d_model] as [n, width].

        The activations are rotated, and noise is added that differs between calls.
        """
        wide = x @ self._rotation
        noise = torch.randn(wide.shape, generator=self._noise)
        return wide.add_(noise.mul_(self._scale * x.norm(dim=1, keepdim=True)))


def bench_scale(data: Activations, settings: ScaleBench, say: Say) -> ScaleReport:
    """Build and encode at each width, and estimate the cost of the models' corpora.

    Args:
        data: activations; the last `settings.encode_rows` are encoded, the others built from.
        settings: widths, atoms, threshold.
        say: called with a progress message.

    Raises:
        UserError: a width is smaller than the activations', or no activations are left to build from.
    """
    if len(data.x) <= settings.encode_rows or data.x.shape[1] > min(settings.models.values()):
        raise UserError(
            f"{data.origin} has {len(data.x):,} activations of width {data.x.shape[1]:,}: give more than "
            f"{settings.encode_rows:,}, of width {min(settings.models.values()):,} at most"
        )
    machine = measure_machine(data.x.shape[1])
    rows = [_measure(data, name, width, settings, say) for name, width in settings.models.items()]
    plans = [_plan(row, tokens, settings) for row in rows for tokens in settings.tokens]
    return ScaleReport(rows, plans, machine, settings, data.origin)


def _measure(data: Activations, name: str, width: int, settings: ScaleBench, say: Say) -> ScaleResult:
    space = WideSpace(data.x.shape[1], width, settings.noise)
    dictionary_settings = DictionarySettings(l0=settings.l0, threshold=settings.threshold, max_atoms=settings.atoms)
    before, rows, building = restart_peak(), 0, 0.0
    builder = DictionaryBuilder(dictionary_settings)
    for x, sources in batches_of(
        data.x[: -settings.encode_rows], data.sources[: -settings.encode_rows], settings.batch_rows
    ):
        wide = space.lay(x)
        start = time.perf_counter()
        builder.add(wide, sources)
        building += time.perf_counter() - start
        rows += len(x)
        say(f"{name}, width {width:,}: {builder.n_atoms:,} atoms from {rows:,} activations in {building:.0f} s")
        if builder.n_atoms >= settings.atoms:
            break
    seconds, dictionary = timed(builder.finish)
    del builder
    held_back = space.lay(data.x[-settings.encode_rows :])
    say(f"{name}, width {width:,}: filling the Gram matrix and encoding")
    fresh = Dictionary(dictionary.atoms, dictionary.sources, dictionary_settings)
    first, _ = timed(lambda: fresh.encode(held_back[:1]))
    encoding, codes = timed(lambda: fresh.encode(held_back), settings.repeats)
    peak = peak_bytes()
    error = held_back - fresh.decode(codes, len(held_back))
    return ScaleResult(
        model=name,
        d_model=width,
        atoms=len(dictionary),
        build_rows=rows,
        build_seconds=building + seconds,
        prepare_seconds=first,
        rows_per_second=len(held_back) / encoding,
        relative_error=float((error.square().sum(1) / held_back.square().sum(1)).mean()),
        dictionary_mb=len(dictionary) * width * _ENTRY / 1e6,
        gram_mb=len(dictionary) ** 2 * _GRAM_ENTRY / 1e6,
        peak_mb=None if before is None or peak is None else (peak - before) / 1e6,
    )


def _plan(row: ScaleResult, tokens: int, settings: ScaleBench) -> ScalePlan:
    captured = BuildSettings((0,)).batch_windows * (WindowSettings().context - 1)
    transfer = kept_bytes(tokens, 1, row.d_model)
    later = max(0, tokens - row.build_rows) / row.rows_per_second
    return ScalePlan(
        model=row.model,
        tokens=tokens,
        token_bytes=kept_bytes(1, 1, row.d_model),
        shards=math.ceil(tokens / captured),
        transfer_gb=transfer / 1e9,
        transfer_hours=transfer * 8 / (settings.megabits * 1e6) / 3600,
        build_hours=(row.build_seconds + later) / 3600,
        encode_hours=(row.prepare_seconds + tokens / row.rows_per_second) / 3600,
        index_gb=tokens * settings.l0 * CODE_BYTES / 1e9,
    )
