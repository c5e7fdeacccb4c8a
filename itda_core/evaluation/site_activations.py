"""The activations of a dictionary's site again: those that it was built from, and those that were held out of it."""

from collections.abc import Iterable, Iterator

import torch

from itda_core.build import kept_activations
from itda_core.capture import Batch, Capture
from itda_core.corpus import Corpus
from itda_core.decompose import open_model
from itda_core.evaluation.measures import HeldOut, read_held_out, without_predictions
from itda_core.jobs import Job
from itda_core.library import DictionaryRecord, Library
from itda_core.models import Model
from itda_core.shards import RecordedActivations
from itda_core.types import UserError
from itda_core.windows import Window, cut, is_held_out


class SiteActivations:
    """Gives the activations of a dictionary's site: from the disk where they were kept, or else from its model."""

    def __init__(self, library: Library, record: DictionaryRecord, job: Job) -> None:
        self._library, self._record, self._job = library, record, job
        self._opened: Model | None = None
        self._kept = kept_activations(library, record)

    def built_from(self) -> torch.Tensor:
        """[n, d_model] float32: those that the dictionary was built from, all of them in memory.

        Raises:
            UserError: there are none, or they were not kept and the model is not on this machine.
        """
        record = self._record
        if self._kept is not None:
            self._job.stage("reading activations", record.n_tokens)
            batches: Iterable[Batch] = RecordedActivations(self._kept)
        else:
            model = self._model()
            self._job.stage("capturing", record.n_tokens)
            batches = Capture(model, [record.site], lambda: self._windows(model, held_out=False))
        parts = []
        for batch in batches:
            x = batch.activations[record.site]
            parts.append(x[~is_held_out(batch.sources[:, 0])] if record.holdout else x)
            self._job.advance(len(x))
        if not parts:
            raise UserError(f"{record.id} was built from no activations: build it from more tokens")
        return torch.cat(parts)

    def measured(self, tokens: int) -> Iterator[HeldOut]:
        """What coders are measured on: the held-out tokens, or all where nothing was held out.

        With the model's predictions, unless it is not on this machine and its activations are.

        Args:
            tokens: no batch begins after so many.

        Raises:
            UserError: the model is not on this machine, and nothing was kept.
        """
        for batch in self._measured():
            yield batch
            tokens -= len(batch.sources)
            if tokens <= 0:
                return

    def _measured(self) -> Iterator[HeldOut]:
        record, held_out = self._record, self._record.holdout
        if self._kept is not None:
            try:
                model = self._model()
            except UserError as error:
                self._job.say(f"only reconstruction is measured: {error}")
                model = None
            if model is None or not model.predicts:
                return without_predictions(self._kept_batches(self._kept, held_out), record.site)
        else:
            model = self._model()
        windows = self._windows(model, held_out=held_out)
        if model.predicts:
            return read_held_out(model, record.site, windows)
        return without_predictions(Capture(model, [record.site], lambda: windows), record.site)

    def _kept_batches(self, folder, held_out: bool) -> Iterator[Batch]:
        for batch in RecordedActivations(folder):
            if held_out:
                rows = is_held_out(batch.sources[:, 0])
                batch = Batch({site: x[rows] for site, x in batch.activations.items()}, batch.sources[rows])
            yield batch

    def _windows(self, model: Model, held_out: bool) -> Iterator[Window]:
        """The dictionary's windows: of the documents held out, or of the others; all where nothing was held out."""
        record = self._record
        corpus = Corpus.open(self._library.corpora / record.corpus)
        for window in cut(corpus.documents(), model.tokenizer, record.cut, record.n_tokens):
            if not record.holdout or is_held_out(window.document) == held_out:
                yield window

    def _model(self) -> Model:
        if self._opened is None:
            self._job.stage(f"loading {self._record.model}")
            self._opened = open_model(self._record, self._library.root)
        return self._opened
