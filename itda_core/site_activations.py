"""The activations that a dictionary was built from, read again: those that were kept, or what its model gives."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from itda_core.capture import Batch, Capture
from itda_core.corpus import Corpus
from itda_core.library import DictionaryRecord
from itda_core.models import Model
from itda_core.reembedding import Reader, from_batches
from itda_core.shards import RecordedActivations
from itda_core.similarity.sources import row_keys
from itda_core.types import UserError
from itda_core.windows import Window, cut


def windows_read(record: DictionaryRecord, model: Model, corpus: Corpus) -> Iterator[Window]:
    """What the model of a dictionary read, the last window captured in part, as when it was built."""
    return cut(corpus.documents(), model.tokenizer, record.cut, record.n_tokens)


def first_unread(record: DictionaryRecord, model: Model, corpus: Corpus) -> int:
    """Ordinal of the document after the last one that the model of a dictionary read."""
    return max((window.document for window in windows_read(record, model, corpus)), default=-1) + 1


def windows_from(first: int, record: DictionaryRecord, model: Model, corpus: Corpus, tokens: int) -> Iterator[Window]:
    """Windows of the documents from an ordinal on, cut as a dictionary's, until `tokens` tokens are captured."""
    for window in cut(corpus.documents(first), model.tokenizer, record.cut, tokens):
        yield window._replace(document=first + window.document)


def holds(window: Window, wanted: np.ndarray) -> bool:
    """Whether a wanted token is among those captured of a window; `wanted` are `row_keys` of sources, rising."""
    first = window.position + window.captured.start
    ends = row_keys([[window.document, first], [window.document, first + len(window.captured)]])
    low, high = wanted.searchsorted(ends)
    return bool(low < high)


def from_kept(folder: Path, record: DictionaryRecord) -> Reader:
    """A reader of the activations that were kept in a folder, as `build.kept_activations` finds it."""
    recorded = RecordedActivations(folder)
    return lambda wanted: from_batches(recorded.batches(sites=[record.site]), record.site, wanted)


def from_model(record: DictionaryRecord, model: Model, corpus: Corpus) -> Reader:
    """A reader of what the model gives, which runs for those windows alone that hold a wanted token."""

    def windows(wanted: np.ndarray) -> Iterable[Window]:
        for window in windows_read(record, model, corpus):
            if holds(window, wanted):
                yield window

    def batches(wanted: np.ndarray) -> Iterable[Batch]:
        return Capture(model, [record.site], lambda: windows(wanted))

    return lambda wanted: from_batches(batches(wanted), record.site, wanted)


def no_activations(record: DictionaryRecord) -> UserError:
    """What to say where the model ran on a server and what it gave was not kept."""
    return UserError(
        f"{record.model} ran on a server when {record.id} was built, and its activations are no longer kept here: "
        f"bring activations/{record.corpus}-… back into the library, or delete the dictionary and build it again "
        "with --remote, or where the model lies with --keep-activations"
    )
