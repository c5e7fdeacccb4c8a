"""Documents cut into the windows that a model reads, each token with its place in the text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from itda_core.config import CutSettings
from itda_core.types import Document

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


def is_held_out(document: int) -> bool:
    """Whether a document is held out of building."""
    return document % HOLDOUT == HOLDOUT - 1


def cut(documents: Iterable[Document], tokenizer: Any, settings: CutSettings, tokens: int) -> Iterator[Window]:
    """Windows of the documents in order, until `tokens` tokens are captured; the last window is captured in part.

    Args:
        documents: the corpus from its first document on.
        tokenizer: a `tokenizers.Tokenizer` (a fast tokenizer's `backend_tokenizer`).
        settings: how to cut.
        tokens: how many tokens to capture at most.
    """
    left = tokens
    for first, batch in _batches(documents):
        for ordinal, encoding in enumerate(_encoded([d.text for d in batch], tokenizer, settings), start=first):
            for window in _windows(ordinal, encoding, settings):
                captured = window.captured[:left]
                if len(captured) < 1:
                    continue
                yield window._replace(captured=captured)
                left -= len(captured)
                if left == 0:
                    return


def _batches(documents: Iterable[Document]) -> Iterator[tuple[int, list[Document]]]:
    first, batch, characters = 0, [], 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if len(batch) == _DOCUMENTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield first, batch
            first, batch, characters = first + len(batch), [], 0
    if batch:
        yield first, batch


def _encoded(texts: list[str], tokenizer: Any, settings: CutSettings) -> list[Any]:
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


def _windows(document: int, encoding: Any, settings: CutSettings) -> Iterator[Window]:
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


@dataclass(frozen=True)
class TokenTable:
    """Every token that was read, in order of document and position; a token's ordinal is its row here."""

    document: np.ndarray
    """[n] int32."""
    position: np.ndarray
    """[n] int32."""
    token_id: np.ndarray
    """[n] int32."""
    start: np.ndarray
    """[n] int32: where the token's characters begin in its document."""
    stop: np.ndarray
    """[n] int32: where they end."""
    n_captured: int
    """How many of them are captured."""
    holdout: bool
    """Whether held-out documents are kept out of building."""

    @classmethod
    def of(cls, windows: Iterable[Window], holdout: bool) -> "TokenTable":
        """The tokens of windows, in their order."""
        document, position, token_id, start, stop = [], [], [], [], []
        n_captured = 0
        for window in windows:
            n = len(window.tokens)
            n_captured += len(window.captured)
            document.append(np.full(n, window.document, np.int32))
            position.append(np.arange(window.position, window.position + n, dtype=np.int32))
            token_id.append(np.array(window.tokens, np.int32))
            spans = np.array(window.spans, np.int32)
            start.append(spans[:, 0])
            stop.append(spans[:, 1])

        def joined(parts: list[np.ndarray]) -> np.ndarray:
            return np.concatenate([*parts, np.zeros(0, np.int32)])

        return cls(
            joined(document),
            joined(position),
            joined(token_id),
            joined(start),
            joined(stop),
            n_captured,
            holdout,
        )

    def __len__(self) -> int:
        return len(self.document)

    @property
    def shown_from(self) -> np.ndarray:
        """[n] where a token is shown from: where the one before it ended, so that tokens read as the text does.

        A tokenizer's spans may overlap (several byte tokens of one character) or leave characters out.
        """
        before = np.concatenate([[0], np.maximum.accumulate(self._global_stop)[:-1]]) - self._offset
        return np.maximum(before, 0).astype(np.int32)

    def held_out(self, document: int) -> bool:
        """Whether a document is held out of building here."""
        return self.holdout and is_held_out(document)

    def ordinal(self, document: np.ndarray, position: np.ndarray) -> np.ndarray:
        """[n] ordinals of the tokens at these places, which must be in the table."""
        keys = self.document.astype(np.int64) << 32 | self.position
        wanted = document.astype(np.int64) << 32 | position
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        if not np.array_equal(keys[at], wanted):
            raise KeyError("a place that is not among the tokens read")
        return at.astype(np.int32)

    @property
    def _offset(self) -> np.ndarray:
        """[n] int64: where each token's document begins when documents stand one after another."""
        lengths = np.zeros(int(self.document[-1]) + 2, np.int64)
        np.maximum.at(lengths[1:], self.document, self.stop)
        return np.cumsum(lengths)[self.document]

    @property
    def _global_stop(self) -> np.ndarray:
        return self.stop + self._offset
