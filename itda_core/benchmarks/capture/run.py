"""Benchmark of capture through nnsight against plain forward hooks.

Implements `itda bench capture`: both methods run in turn; the memory of capture is measured too.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from itda_core.benchmarks.capture.results import CaptureBench, CaptureMemory, CaptureReport, CaptureResult
from itda_core.benchmarks.machine import Machine, measure_machine
from itda_core.benchmarks.models import model_place
from itda_core.benchmarks.pursuit.memory import resident_bytes
from itda_core.capture.local import Capture
from itda_core.common.errors import UserError
from itda_core.common.settings import Dtype
from itda_core.common.types import Site
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import Window, make_windows
from itda_core.models.model import Model, load_model

Say = Callable[[str], None]
"""Function that receives a progress message."""


class PlainHooks:
    """A model with plain forward hooks, without nnsight."""

    def __init__(self, folder: str, dtype: Dtype = "float32") -> None:
        """Load the model of a folder as a separate, unwrapped instance."""
        self._network: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False
        ).eval()
        n_layers, modules = self._network.config.num_hidden_layers, self._network.modules()
        self._blocks = next(m for m in modules if isinstance(m, torch.nn.ModuleList) and len(m) == n_layers)

    def activations(self, windows: Sequence[Window], layers: Sequence[int], stop: bool) -> list[torch.Tensor]:
        """Return the captured tokens' block outputs, for each layer [n, d_model].

        Args:
            windows: windows to read, in one pass.
            layers: block indices.
            stop: whether the hook on the deepest block ends the pass by an exception.
        """
        found: dict[int, torch.Tensor] = {}

        def keep(layer: int, output: Any) -> None:
            found[layer] = output if isinstance(output, torch.Tensor) else output[0]
            if stop and layer == max(layers):
                raise _PassEnds

        hooks = [
            self._blocks[layer].register_forward_hook(lambda _, __, output, layer=layer: keep(layer, output))
            for layer in layers
        ]
        ids, mask, kept = _padded(windows)
        try:
            with torch.no_grad():
                self._network(input_ids=ids, attention_mask=mask)
        except _PassEnds:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return [found[layer][kept].float() for layer in layers]

    def weights(self, layer: int) -> int:
        """Return the number of weights of the blocks up to a layer."""
        return sum(weight.numel() for block in self._blocks[: layer + 1] for weight in block.parameters())


class _PassEnds(Exception):
    """Raised to end a pass once all requested outputs are captured."""


def _padded(windows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return token ids, attention mask and mask of captured tokens.

    Each has shape [windows, longest]; padded on the right.
    """
    rows = [torch.tensor([*window.prefix, *window.tokens, *window.suffix]) for window in windows]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask, kept = torch.zeros_like(ids), torch.zeros(ids.shape, dtype=torch.bool)
    for at, (row, window) in enumerate(zip(rows, windows, strict=True)):
        mask[at, : len(row)] = 1
        first = len(window.prefix)
        kept[at, first + window.captured.start : first + window.captured.stop] = True
    return ids, mask, kept


def bench_capture(corpus: Corpus, settings: CaptureBench, say: Say) -> CaptureReport:
    """Run the benchmark on a corpus.

    Raises:
        UserError: the model is not available, or the corpus has too few windows.
    """
    place, rows, memory = model_place(settings.model), [], None
    exact: dict[tuple[int, ...], list[torch.Tensor]] = {}
    say("measuring the machine")
    first = load_model(place, device="cpu")
    machine = measure_machine(first.d_model)
    for dtype in settings.dtypes:
        model = first if dtype == "float32" else load_model(place, device="cpu", dtype=dtype)
        plain = PlainHooks(place, dtype)
        batches = _batches(corpus, model, settings)
        if dtype == "float32" and settings.memory_batches:
            say(f"memory over {settings.memory_batches} batches")
            memory = _memory(model, corpus, settings)
        for layers in settings.layers:
            named = ", ".join(map(str, layers))
            say(f"{dtype}, layers {named}: nnsight and hooks by turns on {settings.batches} batches")
            rows.append(_by_turns(model, plain, batches, layers, settings, machine, dtype, exact))
    return CaptureReport(rows, memory, machine, settings, corpus.id)


def _batches(corpus: Corpus, model: Model, settings: CaptureBench) -> list[list[Window]]:
    n = settings.batch_windows * (settings.warm_up + settings.batches)
    windows = list(islice(_windows(corpus, model), n))
    if len(windows) < n:
        raise UserError(f"{corpus.id} has {len(windows)} windows, too few for this run: name a larger corpus")
    return [windows[at : at + settings.batch_windows] for at in range(0, n, settings.batch_windows)]


def _windows(corpus: Corpus, model: Model) -> Iterator[Window]:
    return make_windows(corpus.documents(), model.tokenizer, corpus.cut, corpus.n_characters)


def _by_turns(
    model: Model,
    plain: PlainHooks,
    batches: list[list[Window]],
    layers: tuple[int, ...],
    settings: CaptureBench,
    machine: Machine,
    dtype: Dtype,
    exact: dict[tuple[int, ...], list[torch.Tensor]],
) -> CaptureResult:
    """Measure one set of layers; `exact` keeps the last batch of the first number type by layers."""
    sites = [Site(layer) for layer in layers]
    captured = iter(Capture(model, sites, lambda: (w for batch in batches for w in batch), settings.batch_windows))
    seconds: list[list[float]] = [[], [], []]
    largest = 0.0
    found: list[list[torch.Tensor]] = [[], [], []]
    for number, batch in enumerate(batches):
        calls: list[Callable[[], list[torch.Tensor]]] = [
            lambda: list(map(next(captured).activations.__getitem__, sites)),
            lambda batch=batch: plain.activations(batch, layers, stop=False),
            lambda batch=batch: plain.activations(batch, layers, stop=True),
        ]
        for turn in range(3):
            method = (number + turn) % 3  # the first method in a round runs with cold caches
            start = time.perf_counter()
            found[method] = calls[method]()
            if number >= settings.warm_up:
                seconds[method].append(time.perf_counter() - start)
        for other in found[1:]:
            largest = max(largest, *(float((a - b).abs().max()) for a, b in zip(found[0], other, strict=True)))
    tokens = sum(len(window.captured) for batch in batches[settings.warm_up :] for window in batch)
    capture, hooks, stopped = map(median, seconds)
    last = exact.setdefault(layers, found[0])
    deviations = [((a - b).norm(dim=1) / b.norm(dim=1)).mean() for a, b in zip(found[0], last, strict=True)]
    rate = tokens / sum(seconds[0])
    return CaptureResult(
        dtype=dtype,
        layers=layers,
        batches=len(seconds[0]),
        tokens=tokens,
        capture_ms=1000 * capture,
        hooks_ms=1000 * hooks,
        stopped_hooks_ms=1000 * stopped,
        ratio=capture / hooks,
        stopped_ratio=capture / stopped,
        tokens_per_second=rate,
        peak_share=2 * plain.weights(max(layers)) * rate / (machine.product_gflop_s * 1e9),
        largest_difference=largest,
        deviation=float(max(deviations)),
    )


def _memory(model: Model, corpus: Corpus, settings: CaptureBench) -> CaptureMemory | None:
    """Measure resident memory while all layers are captured, batch by batch.

    None on a system that does not report it.
    """
    if resident_bytes() is None:
        return None
    sites = [Site(layer) for layer in range(model.n_layers)]
    capture = Capture(model, sites, lambda: _windows(corpus, model), settings.memory_windows)
    sizes = []
    for _ in islice(capture, settings.memory_batches):
        sizes.append((resident_bytes() or 0) / 1e6)
    if len(sizes) < settings.memory_batches:
        raise UserError(f"{corpus.id} fills {len(sizes)} batches, too few for this run: name a larger corpus")
    settled = np.array(sizes[settings.memory_from - 1 :])
    return CaptureMemory(
        batches=len(sizes),
        first_mb=float(settled[0]),
        last_mb=float(settled[-1]),
        highest_mb=float(settled.max()),
        slope_kb=1000 * float(np.polyfit(np.arange(len(settled)), settled, 1)[0]),
    )
