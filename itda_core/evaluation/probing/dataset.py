"""Tokens for training and testing probes, with activations and text-based labels.

They are from documents that no dictionary was built from: every tenth, which builds hold out, over the complete
corpus and so beyond the part that the build read; if a build held nothing out, the documents after those that it
read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from itda_core.capture.local import Batch, Capture
from itda_core.capture.replay import first_unread
from itda_core.common.errors import UserError
from itda_core.common.types import Document
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import Window, is_held_out, make_windows
from itda_core.evaluation.probing.properties import token_labels
from itda_core.jobs.job import Job
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.model import Model
from itda_core.reports.properties import package_of

_DOCUMENTATION = "docs"
"""Source of a corpus of the installed documentation, whose document names contain the package."""
FEWEST_DOCUMENTS = 10
"""Minimum number of documents, so that some can be trained on and others tested on."""


@dataclass(frozen=True)
class ProbedTokens:
    """Tokens that are not white space, in order of document and position."""

    x: torch.Tensor
    """[n, d_model] float32 activations."""
    document: np.ndarray
    """[n] int64: document index, numbered from 0 in reading order."""
    position: np.ndarray
    """[n] int64: position in the document."""
    token_id: np.ndarray
    """[n] int64: token id."""
    labels: dict[str, np.ndarray]
    """By property name, [n] bool: whether each token has the property."""

    @property
    def n_documents(self) -> int:
        """Number of documents that the tokens are from."""
        return int(self.document.max()) + 1 if len(self.document) else 0


class _Chosen(NamedTuple):
    """Eligible documents and their windows."""

    documents: list[Document]
    windows: list[Window]


def read_tokens(record: DictionaryManifest, corpus: Corpus, model: Model, tokens: int, job: Job) -> ProbedTokens:
    """Read tokens to probe at a dictionary's site.

    Args:
        record: the dictionary's manifest.
        corpus: the corpus that it was built on.
        model: the model that it was built from.
        tokens: maximum number to read, including white space.
        job: receives progress.

    Raises:
        UserError: the corpus has too few documents that the dictionary was not built from, or a value is not finite.
    """
    chosen = _choose(record, corpus, model, tokens)
    documents = len({window.document for window in chosen.windows})
    if documents < FEWEST_DOCUMENTS:
        raise UserError(
            f"{record.corpus} has {documents} documents that {record.id} was not built from, and probes need "
            f"{FEWEST_DOCUMENTS}: build it on a larger corpus, or with fewer --tokens"
        )
    captured = [(window, at) for window in chosen.windows for at in window.captured]
    job.stage(f"reading text with {record.model}", len(captured), "tokens")
    x = torch.cat([batch.activations[record.site] for batch in _batches(model, record, chosen.windows, job)])
    labels = _labels(chosen, with_packages=corpus.settings.spec == _DOCUMENTATION)
    kept = ~labels.pop("blank")
    numbers = np.array(
        [(window.document, window.position + at, window.tokens[at]) for window, at in captured], np.int64
    )[kept]
    _, document = np.unique(numbers[:, 0], return_inverse=True)
    return ProbedTokens(
        x[torch.from_numpy(kept)],
        document,
        numbers[:, 1],
        numbers[:, 2],
        {name: has[kept] for name, has in labels.items()},
    )


def _choose(record: DictionaryManifest, corpus: Corpus, model: Model, tokens: int) -> _Chosen:
    """Return the windows to read, which refer to the eligible documents by index."""
    documents: list[Document] = []

    def pass_on(each: Iterable[Document], first: int) -> Iterator[Document]:
        for ordinal, document in enumerate(each, first):
            if not record.holdout or is_held_out(ordinal):
                documents.append(document)
                yield document

    first = 0
    if not record.holdout:
        first = first_unread(record, model, corpus)
    windows = list(make_windows(pass_on(corpus.documents(first), first), model.tokenizer, record.cut, tokens))
    return _Chosen(documents, windows)


def _batches(model: Model, record: DictionaryManifest, windows: list[Window], job: Job) -> Iterator[Batch]:
    for batch in Capture(model, [record.site], lambda: windows):
        yield batch
        job.advance(len(batch.sources))


def _labels(chosen: _Chosen, with_packages: bool) -> dict[str, np.ndarray]:
    """Return the labels [n] of all captured tokens in the order of the windows."""
    parts: list[dict[str, np.ndarray]] = []
    packages: list[str] = []
    by_document: dict[int, list[Window]] = {}
    for window in chosen.windows:
        by_document.setdefault(window.document, []).append(window)
    for document, windows in by_document.items():
        spans = [window.spans[at] for window in windows for at in window.captured]
        parts.append(token_labels(chosen.documents[document].text, spans))
        packages += [package_of(chosen.documents[document].name)] * len(spans)
    labels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if with_packages:
        named = np.array(packages)
        labels |= {name: named == name for name in sorted(set(packages))}
    return labels
