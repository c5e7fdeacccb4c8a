"""Read a site's activations for a given text: from disk, or from the model."""

import json
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
"""Keys of a dictionary's manifest that identify the activations it was built from."""
ActivationSource = Callable[[np.ndarray], Iterable[tuple[np.ndarray, torch.Tensor]]]
"""Function that yields a dictionary's activations at wanted places, [n] ascending `row_keys` of document and position:
per batch, the [m] indices into the places, ascending across batches too, and the activations [m, d_model]. Every call
yields the same."""


def windows_read(record: DictionaryManifest, model: Model, corpus: Corpus) -> Iterator[Window]:
    """Yield the windows that a dictionary's model read in the build.

    The last window is captured in part, as it was then.
    """
    return make_windows(corpus.documents(), model.tokenizer, record.cut, record.n_tokens)


def first_unread(record: DictionaryManifest, model: Model, corpus: Corpus) -> int:
    """Return the ordinal of the first document that a dictionary's build did not read."""
    return max((window.document for window in windows_read(record, model, corpus)), default=-1) + 1


def windows_from(first: int, record: DictionaryManifest, model: Model, corpus: Corpus, tokens: int) -> Iterator[Window]:
    """Yield windows of the documents from ordinal `first` on.

    They are cut as the dictionary's were, until `tokens` tokens are captured.
    """
    for window in make_windows(corpus.documents(first), model.tokenizer, record.cut, tokens):
        yield window._replace(document=first + window.document)


def holds(window: Window, wanted: np.ndarray) -> bool:
    """Return whether a window's captured tokens include a wanted one.

    `wanted` are `row_keys` of sources, ascending.
    """
    first = window.position + window.captured.start
    ends = row_keys([[window.document, first], [window.document, first + len(window.captured)]])
    low, high = wanted.searchsorted(ends)
    return bool(low < high)


def from_kept(folder: Path, record: DictionaryManifest) -> ActivationSource:
    """Return a source that reads the activations stored in a folder.

    `kept_activations` finds the folder.
    """
    recorded = RecordedActivations(folder)
    return lambda wanted: from_batches(recorded.batches(sites=[record.site]), record.site, wanted)


def from_model(record: DictionaryManifest, model: Model, corpus: Corpus) -> ActivationSource:
    """Return a source that runs the model on the windows with wanted tokens only."""

    def windows(wanted: np.ndarray) -> Iterable[Window]:
        for window in windows_read(record, model, corpus):
            if holds(window, wanted):
                yield window

    def batches(wanted: np.ndarray) -> Iterable[Batch]:
        return Capture(model, [record.site], lambda: windows(wanted))

    return lambda wanted: from_batches(batches(wanted), record.site, wanted)


def no_activations(record: DictionaryManifest) -> UserError:
    """Return the error for a model that ran on a server, without stored activations."""
    return UserError(
        f"{record.model} ran on a server when {record.id} was built, and its activations are no longer kept here: "
        f"bring activations/{record.corpus}-… back into the library, or delete the dictionary and build it again "
        "with --remote, or where the model lies with --keep-activations"
    )


def hash_of_sites(identity: dict, sites: list[Site]) -> str:
    """Hash an identity and its sites for the name of a folder of activations, or of a dictionary."""
    return short_hash(json.dumps([identity, [[site.layer, site.hook] for site in sites]], sort_keys=True))


def kept_activations(library: Library, record: DictionaryManifest) -> Path | None:
    """Find the folder with the activations that a dictionary was built from.

    None if they are not stored. The dictionary's manifest names the folder. Older manifests do not; but a folder's name
    is a hash of the origin of its activations, so those of another model are never mistaken for them. Damaged folders
    of other dictionaries are ignored.

    Raises DamagedError for the folder that the manifest names, or, if it names none, for one that may be the right one.
    """
    manifest = read_json(library.folder(record.id) / MANIFEST_FILE)
    if not library.activations.is_dir() or not manifest.get("half_precision"):
        return None
    named = manifest.get("activations")
    captured = {name: manifest.get(name) for name in CAPTURED}
    made_by = [{}, *({"device": device, "versions": manifest.get("versions")} for device in ("cpu", "cuda", "mps"))]
    damaged = None
    corpus = library.corpus_folder(record).name  # an id without glob characters
    for folder in sorted(library.activations.glob(f"{corpus}-*/{MANIFEST_FILE}")):
        name = folder.parent.name
        try:
            sites = RecordedActivations(folder.parent).sites
        except UserError as error:
            damaged = error if named in (None, name) else damaged
            continue
        names = [f"{corpus}-{hash_of_sites(captured | each, sites)}" for each in made_by]
        if record.site in sites and name in ([named] if named else names):
            return folder.parent
    if damaged is not None:
        raise damaged
    return None


def from_batches(batches: Iterable[Batch], site: Site, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield from captured batches the rows at wanted places, as an `ActivationSource`."""
    for batch in batches:
        keys = row_keys(batch.sources.numpy())
        at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
        is_wanted = wanted[at] == keys
        if is_wanted.any():
            yield at[is_wanted], batch.activations[site][torch.from_numpy(is_wanted)]
