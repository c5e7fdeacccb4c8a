"""Cut documents into windows of tokens."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from itda_core.common.errors import UserError
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document

HOLDOUT = 10
"""Every tenth document, whose ordinal ends in 9, is held out of building."""
_DOCUMENTS_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 4_000_000
_CHARACTERS_PER_TOKEN = 32  # far above the average: the first prefix is nearly always long enough


class Window(NamedTuple):
    """A window of tokens: one input sequence of the model."""

    document: int
    """Ordinal of the document."""
    prefix: list[int]
    """Special tokens that the tokenizer puts first; fed to the model, never captured."""
    tokens: list[int]
    """The document's own tokens."""
    suffix: list[int]
    """Special tokens that the tokenizer puts last; fed to the model, never captured."""
    position: int
    """Position of the first own token among the document's own tokens."""
    spans: list[tuple[int, int]]
    """Character span of each own token, [start, stop)."""
    captured: range
    """Indices of the window's own tokens that are captured."""


def is_held_out(document: Any) -> Any:
    """Return whether a document is held out, for an ordinal or an array of them."""
    return document % HOLDOUT == HOLDOUT - 1


def check_documents(documents: int, limit: int | None = None, otherwise: str = ", or give --no-holdout") -> None:
    """Check that a corpus has enough documents for one to be held out.

    Raises UserError.

    Args:
        documents: number of its documents.
        limit: maximum number of documents to read.
        otherwise: an alternative remedy, at the end of the error.
    """
    if documents < HOLDOUT:
        some = "a single document" if documents == 1 else f"only {documents} documents"
        remedy = "raise --documents" if documents == limit else "name a longer text"
        raise UserError(f"the corpus has {some}, so that none is held out, which every tenth is: {remedy}{otherwise}")


def make_windows(
    documents: Iterable[Document], tokenizer: Any, settings: WindowSettings, tokens: int
) -> Iterator[Window]:
    """Yield the windows of documents in order until `tokens` tokens are captured.

    The last window may be captured in part.

    Args:
        documents: the corpus from its first document on.
        tokenizer: a `tokenizers.Tokenizer` (a fast tokenizer's `backend_tokenizer`).
        settings: window settings.
        tokens: maximum number of tokens to capture.
    """
    left = tokens
    for first, batch in document_batches(documents):
        for ordinal, encoding in enumerate(_encoded([d.text for d in batch], tokenizer, settings), start=first):
            for window in _windows(ordinal, encoding, settings):
                captured = window.captured[:left]
                if len(captured) < 1:
                    continue
                yield window._replace(captured=captured)
                left -= len(captured)
                if left == 0:
                    return


def special_tokens_before(tokenizer: Any) -> int:
    """Count the special tokens that a `tokenizers.Tokenizer` puts before a text."""
    mask = tokenizer.encode("a").special_tokens_mask
    return next((at for at, is_special in enumerate(mask) if not is_special), len(mask))


def windows_of(text: str, tokenizer: Any, settings: WindowSettings) -> list[Window]:
    """Return all windows of one text, including those without captured tokens.

    Empty if the text has no tokens.
    """
    (encoding,) = _encoded([text], tokenizer, settings)
    return list(_windows(0, encoding, settings))


def shown_from(stops: Any, reached: int = 0) -> np.ndarray:
    """Return the offset from which each token of a text is displayed.

    It is the end of the tokens before it, so that the displayed tokens concatenate to the text. A tokenizer's spans may
    overlap (several byte tokens of one character) or leave characters out.

    Args:
        stops: [n] ends of the tokens.
        reached: end of the tokens before them.

    Returns:
        [n + 1] int64; the last is the end of all of them.
    """
    return np.maximum.accumulate(np.array([reached, *stops], np.int64))


def first_captured(windows: Iterable[Window], tokens: int) -> Iterator[Window]:
    """Yield windows until `tokens` tokens are captured; the last window is captured in part."""
    left = tokens
    for window in windows:
        captured = window.captured[:left]
        yield window._replace(captured=captured)
        left -= len(captured)
        if left == 0:
            return


def document_batches(documents: Iterable[Document]) -> Iterator[tuple[int, list[Document]]]:
    """Yield documents in lists of bounded size, each with the ordinal of its first."""
    first, batch, characters = 0, [], 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) == _DOCUMENTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield first, batch
            first, batch, characters = first + len(batch), [], 0
    if batch:
        yield first, batch


def _encoded(texts: list[str], tokenizer: Any, settings: WindowSettings) -> list[Any]:
    """Encode texts as far as they are needed.

    A book is not tokenised completely for its first window. If a text is cut, its last tokens may differ from those of
    the complete text, so the cut is well behind the window.
    """
    if settings.windows == "all":
        return tokenizer.encode_batch(texts)
    limit = settings.context * _CHARACTERS_PER_TOKEN
    encodings = tokenizer.encode_batch([text[:limit] for text in texts])
    for at, text in enumerate(texts):
        taken = limit
        while taken < len(text) and len(encodings[at].ids) < 2 * settings.context:
            taken *= 2
            encodings[at] = tokenizer.encode(text[:taken])
    return encodings


def _windows(document: int, encoding: Any, settings: WindowSettings) -> Iterator[Window]:
    own = [at for at, special in enumerate(encoding.special_tokens_mask) if not special]
    if not own:
        return
    ids, spans = encoding.ids, encoding.offsets
    prefix, suffix = ids[: own[0]], ids[own[-1] + 1 :]
    starts = range(0, len(own), settings.context) if settings.windows == "all" else range(1)
    for start in starts:
        taken = own[start : start + settings.context]
        yield Window(
            document,
            prefix,
            [ids[at] for at in taken],
            suffix,
            start,
            [spans[at] for at in taken],
            range(0 if settings.keep_first else 1, len(taken)),
        )
