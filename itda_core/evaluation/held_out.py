"""Tokens of a dictionary's site: for evaluation, and as candidates for atoms.

Evaluation uses the first held-out tokens, up to a number, without those over the dictionary's largest norm. If nothing
was held out, it uses the documents after those that were read; and if there are none, those that were read. Candidates
for atoms are the tokens that were read and not held out.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from itda_core.capture.local import Batch, Capture
from itda_core.capture.replay import (
    ActivationSource,
    first_unread,
    from_kept,
    from_model,
    kept_activations,
    no_activations,
    windows_from,
    windows_read,
)
from itda_core.capture.store import RecordedActivations
from itda_core.common.errors import UserError
from itda_core.common.keys import row_keys, sources_of
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import Window, first_captured, is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.mean import centered
from itda_core.dictionary.norms import within
from itda_core.evaluation.metrics import HeldOut, read_held_out, within_norm, without_predictions
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.locate import model_places, open_model
from itda_core.models.model import Model


class SiteTokens(Protocol):
    """Protocol of the tokens of a dictionary's site, with their activations."""

    read: ActivationSource
    """Source of the activations at given tokens."""
    with_model: bool
    """Whether the activations come from the model, so that its predictions can be measured if it makes any."""

    @property
    def is_seen(self) -> bool:
        """Return whether evaluation is limited to tokens seen in building."""
        ...

    def held_out(self, tokens: int) -> Iterator[HeldOut]:
        """Yield the evaluation tokens in batches, at most `tokens` in total."""
        ...

    def candidates(self) -> np.ndarray:
        """Return document and position of the candidate tokens for atoms.

        Int64, shape [n, 2], in ascending order.
        """
        ...


class TokensOfModel:
    """Tokens read with the model.

    They come with predictions, unless the model makes none. Implements `SiteTokens`.
    """

    def __init__(self, record: DictionaryManifest, model: Model, corpus: Corpus) -> None:
        self._record, self._model, self._corpus = record, model, corpus
        self.read = from_model(record, model, corpus)
        self.with_model = True

    @property
    def is_seen(self) -> bool:
        """Return whether evaluation is limited to tokens seen in building."""
        return not self._record.holdout and self._unread is None

    @cached_property
    def _unread(self) -> int | None:
        """First document that was not read, or None.

        Cached, since computing it reads the part of the corpus that was read.
        """
        first = first_unread(self._record, self._model, self._corpus)
        return first if any(windows_from(first, self._record, self._model, self._corpus, 1)) else None

    def held_out(self, tokens: int) -> Iterator[HeldOut]:
        """Yield the evaluation tokens in batches, at most `tokens` in total."""
        windows, site = list(self._measured(tokens)), self._record.site
        if self._model.predicts:
            batches = read_held_out(self._model, site, windows)
        else:
            batches = without_predictions(Capture(self._model, [site], lambda: windows), site)
        return within_norm(batches, self._record.largest_norm)

    def candidates(self) -> np.ndarray:
        """Return document and position of the candidate tokens for atoms.

        Int64, shape [n, 2], in ascending order.
        """
        places = [np.empty((0, 2), np.int64)]
        for window in windows_read(self._record, self._model, self._corpus):
            if not (self._record.holdout and is_held_out(window.document)):
                positions = window.position + np.asarray(window.captured)
                places.append(np.column_stack([np.full(len(positions), window.document), positions]))
        return np.concatenate(places)

    def _measured(self, tokens: int) -> Iterator[Window]:
        if not self._record.holdout and self._unread is not None:
            yield from windows_from(self._unread, self._record, self._model, self._corpus, tokens)
            return
        read = windows_read(self._record, self._model, self._corpus)
        yield from first_captured(
            (window for window in read if is_held_out(window.document) or not self._record.holdout), tokens
        )


class TokensKept:
    """Tokens with the activations stored when the dictionary was built.

    They come without predictions. Implements `SiteTokens`.
    """

    def __init__(self, record: DictionaryManifest, folder: Path) -> None:
        self._record, self._recorded = record, RecordedActivations(folder)
        self.read = from_kept(folder, record)
        self.with_model, self.is_seen = False, not record.holdout

    def held_out(self, tokens: int) -> Iterator[HeldOut]:
        """Yield the evaluation tokens in batches, at most `tokens` in total."""
        return within_norm(without_predictions(self._measured(tokens), self._record.site), self._record.largest_norm)

    def candidates(self) -> np.ndarray:
        """Return document and position of the candidate tokens for atoms.

        Int64, shape [n, 2], in ascending order.
        """
        sources = self._recorded.sources().numpy()
        return sources[~is_held_out(sources[:, 0])] if self._record.holdout else sources

    def _measured(self, tokens: int) -> Iterable[Batch]:
        left = tokens
        for batch in self._recorded.batches(sites=[self._record.site]):
            measured = is_held_out(batch.sources[:, 0]) | (not self._record.holdout)
            rows = measured.nonzero()[:left, 0]
            yield Batch({self._record.site: batch.activations[self._record.site][rows]}, batch.sources[rows])
            left -= len(rows)
            if left == 0:
                return


def open_tokens(library: Library, record: DictionaryManifest, job: Job) -> SiteTokens:
    """Open the tokens of a dictionary's site.

    They come from its model, or from stored activations if the model is not on this machine.

    Raises:
        UserError: the model is not available, and no activations are stored.
    """
    job.stage(f"loading {record.model}")
    try:
        model = open_model(record, library.root)
    except UserError as error:
        kept = kept_activations(library, record)
        if kept is None:
            ran_elsewhere = record.has_text and record.weights_sha256 is None
            if ran_elsewhere:
                raise no_activations(record) from error
            raise
        job.say(f"what predictions lose is not measured: {error}")
        return TokensKept(record, kept)
    return TokensOfModel(record, model, Corpus.open(library.corpus_folder(record)))


def may_run(library: Library, record: DictionaryManifest) -> bool:
    """Return whether a dictionary's model seems to be on this machine."""
    try:
        return bool(model_places(record, library.root))
    except UserError:
        return False


def random_dictionary(
    tokens: SiteTokens, record: DictionaryManifest, seed: int, mean: torch.Tensor | None = None
) -> Dictionary:
    """Return a dictionary of as many atoms, sampled at random without replacement.

    The atoms are sampled from the tokens that the dictionary was built from, and kept in sampling order, so that the
    first atoms are a smaller random sample.

    Args:
        tokens: the tokens of its site.
        record: the dictionary's manifest.
        seed: seed of the sample.
        mean: the dictionary's mean [d_model], if it is centred.

    Raises:
        UserError: the activations are no longer those of the corpus.
    """
    candidates = row_keys(tokens.candidates())
    spare = 0 if record.norms is None else record.norms.left_out  # as many may be over the largest norm
    drawn = np.random.default_rng(seed).choice(candidates, min(record.n_atoms + spare, len(candidates)), replace=False)
    n, order = len(drawn), np.argsort(drawn)
    atoms, seen = torch.zeros(n, record.d_model), 0
    for index, x in tokens.read(drawn[order]):
        atoms[torch.from_numpy(order[index])] = x.to(torch.float32)
        seen += len(index)
    if seen != n or not n:
        raise UserError(f"{n:,} activations were asked for and {seen:,} found: build the dictionary again")
    used = within(atoms, record.largest_norm).nonzero()[: record.n_atoms, 0]
    atoms, sources = atoms[used], torch.from_numpy(sources_of(drawn))[used]
    unit = torch.nn.functional.normalize(atoms if mean is None else centered(atoms, mean), dim=1)
    return Dictionary(unit, sources, record.settings, mean=mean)
