"""Activations of a corpus at some sites of a model, batch by batch, through nnsight."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from itda_core.families import tensor_of
from itda_core.models import Model
from itda_core.types import Site, UserError
from itda_core.windows import Window

_ORDER = {"attn": 0, "mlp": 1, "resid": 2}


class Batch(NamedTuple):
    """Activations captured in one forward pass."""

    activations: dict[Site, torch.Tensor]
    """Per site [n, d_model] float32 on the CPU."""
    sources: torch.Tensor
    """[n, 2] int64: document, position."""


class Capture:
    """The activations of windows at some sites; every iteration runs the model anew and gives the same values."""

    def __init__(
        self, model: Model, sites: Sequence[Site], windows: Callable[[], Iterable[Window]], batch_windows: int = 16
    ) -> None:
        """Prepare a capture. Raises UserError for a site that the model does not have.

        Args:
            model: the model.
            sites: where to capture, all in one pass, which stops after the deepest.
            windows: gives the windows anew at each call.
            batch_windows: windows in a forward pass.
        """
        self._model = model
        # nnsight serves values as the model runs: they must be asked for in the order in which it reaches them.
        self.sites = sorted(sites, key=lambda site: (site.layer, _ORDER[site.hook]))
        self._modules = [model.module(site) for site in self.sites]
        self._windows = windows
        self._batch_windows = batch_windows

    def __iter__(self) -> Iterator[Batch]:
        pending: list[Window] = []
        for window in self._windows():
            pending.append(window)
            if len(pending) == self._batch_windows:
                yield self._run(pending)
                pending = []
        if pending:
            yield self._run(pending)

    def _run(self, windows: list[Window]) -> Batch:
        # A forward pass of a single row rounds differently from the same row among others, so it gets company.
        fed = windows if len(windows) > 1 else windows * 2
        ids, mask = self._inputs(fed)
        kept = torch.zeros(ids.shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            first = len(window.prefix)
            kept[row, first + window.captured.start : first + window.captured.stop] = True
        values = self._forward(ids, mask)
        activations = {
            site: value[kept.to(value.device)].to("cpu", torch.float32)
            for site, value in zip(self.sites, values, strict=True)
        }
        sources = [(window.document, window.position + at) for window in windows for at in window.captured]
        return Batch(activations, torch.tensor(sources, dtype=torch.int64))

    def _inputs(self, windows: list[Window]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask [rows, longest], padded on the right."""
        rows = [[*window.prefix, *window.tokens, *window.suffix] for window in windows]
        longest = max(map(len, rows))
        limit = self._model.max_tokens
        if limit is not None and longest > limit:
            raise UserError(f"{self._model.name} reads {limit} tokens at most, {longest} were asked: lower --context")
        ids = torch.full((len(rows), longest), self._model.pad_id)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = 1
        return ids, mask

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        network, modules = self._model.nnsight, self._modules
        inputs = {"input_ids": ids.to(self._model.device), "attention_mask": mask.to(self._model.device)}
        outputs: Any
        with self._model.lock, torch.no_grad(), network.trace(inputs) as tracer:
            outputs = list()
            for module in modules:
                outputs.append(module.output)
            outputs.save()
            tracer.stop()
        values = [tensor_of(output, *ids.shape) for output in outputs]
        gc.collect(1)  # an early stop leaves a cycle that holds the pass's tensors
        return values
