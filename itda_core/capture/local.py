"""Capture activations at sites of a model, batch by batch, through nnsight."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import UserError
from itda_core.common.text import one_line
from itda_core.common.types import Site
from itda_core.corpus.windows import Window
from itda_core.models.architectures import tensor_of
from itda_core.models.model import Model
from itda_core.models.passes import must_be_finite, one_pass

_ORDER = {"attn": 0, "mlp": 1, "resid": 2}


class Batch(NamedTuple):
    """Activations captured in one forward pass."""

    activations: dict[Site, torch.Tensor]
    """Per site [n, d_model] float32 on the CPU."""
    sources: torch.Tensor
    """[n, 2] int64: document, position."""


class ModelInputs(NamedTuple):
    """A padded batch of windows: ids, attention mask, capture mask, sources."""

    ids: torch.Tensor
    """[rows, longest] int64 token ids, padded on the right."""
    mask: torch.Tensor
    """[rows, longest] int64: 1 for tokens, 0 for padding."""
    kept: torch.Tensor
    """[rows, longest] bool: True for tokens that are captured."""
    sources: torch.Tensor
    """[n, 2] int64: document and position of each captured token, in order."""


class Capture:
    """Activations of windows at some sites, computed anew in every iteration.

    Each iteration gives the same values.
    """

    def __init__(
        self, model: Model, sites: Sequence[Site], windows: Callable[[], Iterable[Window]], batch_windows: int = 16
    ) -> None:
        """Prepare a capture.

        Raises UserError for a site that the model does not have.

        Args:
            model: the model.
            sites: the sites, all captured in one pass, which stops after the deepest.
            windows: returns the same windows at each call.
            batch_windows: windows in a forward pass.
        """
        self._model = model
        self.sites = in_execution_order(sites)
        self._modules = [model.module(site) for site in self.sites]
        self._windows = windows
        self._batch_windows = batch_windows

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from number `first` on; earlier ones are not computed."""
        for windows in grouped(self._model, self._windows(), self._batch_windows, first):
            yield self._run(windows)

    def _run(self, windows: list[Window]) -> Batch:
        fed = collate(self._model, windows)
        values = self._forward(fed.ids, fed.mask)
        activations = {
            site: value[fed.kept.to(value.device)].to("cpu", torch.float32)
            for site, value in zip(self.sites, values, strict=True)
        }
        for site, x in activations.items():
            must_be_finite(self._model, site, x)
        return Batch(activations, fed.sources)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        network, modules = self._model.nnsight, self._modules
        inputs = {"input_ids": ids.to(self._model.device), "attention_mask": mask.to(self._model.device)}
        outputs: Any
        with one_pass(self._model), network.trace(inputs) as tracer:
            outputs = list()
            for module in modules:
                outputs.append(module.output)
            outputs.save()
            tracer.stop()
        values = [tensor_of(output, *ids.shape) for output in outputs]
        gc.collect(1)  # an early stop leaves a reference cycle that holds the pass's tensors
        return values


def in_execution_order(sites: Iterable[Site]) -> list[Site]:
    """Sort sites in the order in which a model computes them, as nnsight requires."""
    return sorted(sites, key=lambda site: (site.layer, _ORDER[site.hook]))


def grouped(model: Model, windows: Iterable[Window], size: int, first: int) -> Iterator[list[Window]]:
    """Yield batches of up to `size` windows, in order, from batch number `first` on.

    Only windows that may be padded together share a batch.
    """
    number = 0
    for together in mixable(model, windows):
        while group := list(islice(together, size)):
            if number >= first:
                yield group
            number += 1


def mixable(model: Model, windows: Iterable[Window]) -> Iterator[Iterator[Window]]:
    """Yield runs of windows within which any windows may be batched together.

    One run of all windows, unless padding changes the activations: then each run has windows of equal length, so that
    nothing is padded. Runs must be consumed one after another.
    """
    return (run for _, run in groupby(windows, _length if model.sees_padding else lambda window: 0))


def _length(window: Window) -> int:
    return len(window.prefix) + len(window.tokens) + len(window.suffix)


def collate(model: Model, windows: list[Window]) -> ModelInputs:
    """Collate windows into one padded batch.

    Raises UserError for a window longer than the model reads, or a token outside its vocabulary.
    """
    # A single row rounds differently from the same row in a larger batch, so it is duplicated.
    rows = [[*window.prefix, *window.tokens, *window.suffix] for window in windows]
    rows = rows if len(rows) > 1 else rows * 2
    longest = max(map(len, rows))
    limit = model.max_tokens
    if limit is not None and longest > limit:
        raise UserError(f"{model.name} reads {limit} tokens at most, {longest} were asked: lower --context")
    largest = max(map(max, rows))
    if largest >= model.vocabulary:
        raise UserError(
            f"{model.name} has embeddings of {model.vocabulary} tokens, and a text has token {largest}, "
            f"{one_line(model.tokenizer.id_to_token(largest) or '')!r}: take that out of the corpus"
        )
    ids = torch.full((len(rows), longest), model.pad_id)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    kept = torch.zeros(ids.shape, dtype=torch.bool)
    for at, window in enumerate(windows):
        begin = len(window.prefix)
        kept[at, begin + window.captured.start : begin + window.captured.stop] = True
    sources = [(window.document, window.position + at) for window in windows for at in window.captured]
    return ModelInputs(ids, mask, kept, torch.tensor(sources, dtype=torch.int64))
