"""Activations of one site for a given text: stored, or from the model."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from itda_core.capture.local import Batch, Capture
from itda_core.capture.store import RecordedActivations
from itda_core.common.errors import UserError
from itda_core.common.files import read_json, short_hash
from itda_core.common.keys import row_keys
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.types import Site
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import Window, make_windows
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.model import Model

CAPTURED = (
    "model",
    "revision",
    "weights_sha256",
    "tokenizer_sha256",
    "dtype",
    "corpus",
    "cut",
    "tokens",
    "batch_windows",
    "half_precision",
)
"""What of a dictionary's manifest says which activations it is from."""
ActivationSource = Callable[[np.ndarray], Iterable[tuple[np.ndarray, torch.Tensor]]]
"""Gives B's activations at some places, [n] rising `row_keys` of document and position: batch by batch which of the
places, [m] rising indices that rise from batch to batch too, and the activations [m, d_model]. The same at every
call."""


def windows_read(record: DictionaryManifest, model: Model, corpus: Corpus) -> Iterator[Window]:
    """What the model of a dictionary read, the last window captured in part, as when it was built."""
    return make_windows(corpus.documents(), model.tokenizer, record.cut, record.n_tokens)


def first_unread(record: DictionaryManifest, model: Model, corpus: Corpus) -> int:
    """Ordinal of the document after the last one that the model of a dictionary read."""
    return max((window.document for window in windows_read(record, model, corpus)), default=-1) + 1


def windows_from(first: int, record: DictionaryManifest, model: Model, corpus: Corpus, tokens: int) -> Iterator[Window]:
    """Windows of the documents from an ordinal on, cut as a dictionary's, until `tokens` tokens are captured."""
    for window in make_windows(corpus.documents(first), model.tokenizer, record.cut, tokens):
        yield window._replace(document=first + window.document)


def holds(window: Window, wanted: np.ndarray) -> bool:
    """Whether a wanted token is among those captured of a window; `wanted` are `row_keys` of sources, rising."""
    first = window.position + window.captured.start
    ends = row_keys([[window.document, first], [window.document, first + len(window.captured)]])
    low, high = wanted.searchsorted(ends)
    return bool(low < high)


def from_kept(folder: Path, record: DictionaryManifest) -> ActivationSource:
    """A reader of the activations that were kept in a folder, as `build.kept_activations` finds it."""
    recorded = RecordedActivations(folder)
    return lambda wanted: from_batches(recorded.batches(sites=[record.site]), record.site, wanted)


def from_model(record: DictionaryManifest, model: Model, corpus: Corpus) -> ActivationSource:
    """A reader of what the model gives, which runs for those windows alone that hold a wanted token."""

    def windows(wanted: np.ndarray) -> Iterable[Window]:
        for window in windows_read(record, model, corpus):
            if holds(window, wanted):
                yield window

    def batches(wanted: np.ndarray) -> Iterable[Batch]:
        return Capture(model, [record.site], lambda: windows(wanted))

    return lambda wanted: from_batches(batches(wanted), record.site, wanted)


def no_activations(record: DictionaryManifest) -> UserError:
    """What to say where the model ran on a server and what it gave was not kept."""
    return UserError(
        f"{record.model} ran on a server when {record.id} was built, and its activations are no longer kept here: "
        f"bring activations/{record.corpus}-… back into the library, or delete the dictionary and build it again "
        "with --remote, or where the model lies with --keep-activations"
    )


def kept_activations(library: Library, record: DictionaryManifest) -> Path | None:
    """The folder where the activations that a dictionary was built from are kept; None where they are not.

    The dictionary's manifest names it. Older ones do not; but a folder's name is a hash of what its activations are
    from, so those of another model are never taken for them. Damaged folders of others are passed over.

    Raises DamagedError for the folder that is named, or where nothing is, for one that may have been it.
    """
    manifest = read_json(library.folder(record.id) / MANIFEST_FILE)
    if not library.activations.is_dir() or not manifest.get("half_precision"):
        return None
    named = manifest.get("activations")
    captured = {name: manifest.get(name) for name in CAPTURED}
    made_by = [{}, *({"device": device, "versions": manifest.get("versions")} for device in ("cpu", "cuda", "mps"))]
    damaged = None
    corpus = library.corpus_folder(record).name  # which has no letter that a pattern reads
    for folder in sorted(library.activations.glob(f"{corpus}-*/{MANIFEST_FILE}")):
        name = folder.parent.name
        try:
            sites = RecordedActivations(folder.parent).sites
        except UserError as error:
            damaged = error if named in (None, name) else damaged
            continue
        names = [f"{corpus}-{short_hash(captured | each, sites)}" for each in made_by]
        if record.site in sites and name in ([named] if named else names):
            return folder.parent
    if damaged is not None:
        raise damaged
    return None


def from_batches(batches: Iterable[Batch], site: Site, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """What a `ActivationSource` gives, from captured batches: of their rows those that are among the wanted places."""
    for batch in batches:
        keys = row_keys(batch.sources.numpy())
        at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
        is_wanted = wanted[at] == keys
        if is_wanted.any():
            yield at[is_wanted], batch.activations[site][torch.from_numpy(is_wanted)]
