"""Cut documents into windows of tokens."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from itda_core.common.errors import UserError
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document

HOLDOUT = 10
"""Every tenth document, the one whose ordinal ends in 9, is held out of building."""
_DOCUMENTS_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 4_000_000
_CHARACTERS_PER_TOKEN = 32  # far more than a token has on average: the first try at a prefix is nearly always enough


class Window(NamedTuple):
    """What the model reads in one go."""

    document: int
    """Ordinal of the document."""
    prefix: list[int]
    """Special tokens that the tokenizer puts first; fed, never captured."""
    tokens: list[int]
    """The document's own tokens."""
    suffix: list[int]
    """Special tokens that the tokenizer puts last; fed, never captured."""
    position: int
    """Position of the first own token among the document's own tokens."""
    spans: list[tuple[int, int]]
    """Character span of each own token, [start, stop)."""
    captured: range
    """Which own tokens of the window are captured."""


def is_held_out(document: Any) -> Any:
    """Whether a document is held out of building, for an ordinal or an array of them."""
    return document % HOLDOUT == HOLDOUT - 1


def check_documents(documents: int, limit: int | None = None, otherwise: str = ", or give --no-holdout") -> None:
    """Refuse a corpus of so few documents that none is held out. Raises UserError.

    Args:
        documents: how many it has.
        limit: how many of them were to be read at most.
        otherwise: what else helps, at the end of the error.
    """
    if documents < HOLDOUT:
        some = "a single document" if documents == 1 else f"only {documents} documents"
        remedy = "raise --documents" if documents == limit else "name a longer text"
        raise UserError(f"the corpus has {some}, so that none is held out, which every tenth is: {remedy}{otherwise}")


def make_windows(
    documents: Iterable[Document], tokenizer: Any, settings: WindowSettings, tokens: int
) -> Iterator[Window]:
    """Windows of the documents in order, until `tokens` tokens are captured; the last window is captured in part.

    Args:
        documents: the corpus from its first document on.
        tokenizer: a `tokenizers.Tokenizer` (a fast tokenizer's `backend_tokenizer`).
        settings: how to cut.
        tokens: how many tokens to capture at most.
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
    """Special tokens that a `tokenizers.Tokenizer` puts before a text."""
    mask = tokenizer.encode("a").special_tokens_mask
    return next((at for at, is_special in enumerate(mask) if not is_special), len(mask))


def windows_of(text: str, tokenizer: Any, settings: WindowSettings) -> list[Window]:
    """All windows of one text, those in which nothing is captured included; none where it has no tokens."""
    (encoding,) = _encoded([text], tokenizer, settings)
    return list(_windows(0, encoding, settings))


def shown_from(stops: Any, reached: int = 0) -> np.ndarray:
    """Where each token of a text is shown from, so that the tokens read as the text: where those before it ended.

    A tokenizer's spans may overlap (several byte tokens of one character) or leave characters out.

    Args:
        stops: [n] where the tokens end.
        reached: how far the tokens before them came.

    Returns:
        [n + 1] int64; the last is how far they come.
    """
    return np.maximum.accumulate(np.array([reached, *stops], np.int64))


def document_batches(documents: Iterable[Document]) -> Iterator[tuple[int, list[Document]]]:
    """The documents in lists, as many as are well held in memory, each with the ordinal of its first."""
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
    """Encodings of the texts, as far as they are read: a book is not tokenised for its first window.

    Where a text is cut its last tokens may differ from those of the whole, so the cut stays well behind the window.
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
