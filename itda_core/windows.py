"""Documents cut into the windows that a model reads, each token with its place in the text."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from itda_core.config import CutSettings
from itda_core.types import Document, UserError

HOLDOUT = 10
"""Every tenth document, the one whose ordinal ends in 9, is held out of building."""
_DOCUMENTS_AT_ONCE = 256
_CHARACTERS_AT_ONCE = 4_000_000
_COLUMNS = 4  # of the file of a TokenTable: token_id, start, stop, shown_from
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


def check_held_out(table: "TokenTable", tokens: int, otherwise: str = ", or give --no-holdout") -> None:
    """Refuse tokens among which there are none of a held-out document, where there should be. Raises UserError.

    Args:
        table: the tokens that were read.
        tokens: how many were to be captured at most.
        otherwise: what else helps, at the end of the error.
    """
    if not table.holdout or is_held_out(table.document).any():
        return
    if table.n_captured < tokens:
        raise UserError(
            "no held-out document of the corpus, which every tenth is, has a token to capture: name a longer text"
            + otherwise
        )
    raise UserError(f"{tokens:,} tokens reach no held-out document, which every tenth is: raise --tokens{otherwise}")


def cut(documents: Iterable[Document], tokenizer: Any, settings: CutSettings, tokens: int) -> Iterator[Window]:
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


def windows_of(text: str, tokenizer: Any, settings: CutSettings) -> list[Window]:
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


class Tokens(NamedTuple):
    """Some of the tokens that were read, column by column: arrays of equal length, int32."""

    token: np.ndarray
    """Ordinal among all tokens that were read."""
    document: np.ndarray
    """Ordinal of the document."""
    position: np.ndarray
    """Position among the document's own tokens."""
    token_id: np.ndarray
    """The tokenizer's number for it."""
    start: np.ndarray
    """Where the token's characters begin in its document."""
    stop: np.ndarray
    """Where they end."""
    shown_from: np.ndarray
    """Where it is shown from: where the one before it ended, see `shown_from`."""


class TokenTable:
    """Every token that was read, in order of document and position; a token's ordinal is its row here.

    Memory holds a few numbers for each window. What there is for each token lies in a temporary file, 16 bytes a token,
    which goes with the table.

    Attributes:
        n_captured: how many of the tokens are captured.
        holdout: whether held-out documents are kept out of building.
        document: [n_windows] int32, each window's document.
    """

    def __init__(
        self, rows: BinaryIO, document: array, position: array, first: array, n_captured: int, holdout: bool
    ) -> None:
        """Put a table together; `of` is the way to make one.

        Args:
            rows: the file.
            document, position: of each window's first token.
            first: the ordinal of each window's first token, and at the end the number of tokens.
            n_captured: how many of the tokens are captured.
            holdout: whether held-out documents are kept out of building.
        """
        self.n_captured = n_captured
        self.holdout = holdout
        self.document = np.array(document, np.int32)
        self._rows = rows
        self._position = np.array(position, np.int32)
        self._first = np.array(first, np.int64)
        self._keys = _keys(self.document, self._position)

    @classmethod
    def of(cls, windows: Iterable[Window], holdout: bool, folder: Path | None = None) -> "TokenTable":
        """The tokens of windows, in their order.

        Args:
            windows: in order of document and position.
            holdout: whether held-out documents are kept out of building.
            folder: where the temporary file is made; the system's folder for such files unless given.
        """
        file = TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed, and with that gone, when the table is
        # Arrays of numbers that grow in place: a list of windows would take more than their tokens do.
        document, position, first = array("i"), array("i"), array("q", [0])
        n_captured = 0
        reached = 0  # how far the document's tokens have come
        for window in windows:
            if not document or document[-1] != window.document:
                reached = 0
            document.append(window.document)
            position.append(window.position)
            first.append(first[-1] + len(window.tokens))
            n_captured += len(window.captured)
            rows = np.empty((len(window.tokens), _COLUMNS), np.int32)
            rows[:, 0] = window.tokens
            rows[:, 1:3] = window.spans
            shown = shown_from(rows[:, 2], reached)
            rows[:, 3], reached = shown[:-1], int(shown[-1])
            file.write(rows.tobytes())
        return cls(file, document, position, first, n_captured, holdout)

    def __len__(self) -> int:
        return int(self._first[-1])

    def rows(self, first: int = 0, stop: int | None = None) -> Tokens:
        """The tokens with ordinals from `first` up to and without `stop`; all of them unless given."""
        stop = len(self) if stop is None else min(stop, len(self))
        token = np.arange(first, stop, dtype=np.int32)
        window = np.searchsorted(self._first, token, side="right") - 1
        position = (self._position[window] + token - self._first[window]).astype(np.int32)
        row_bytes = _COLUMNS * np.dtype(np.int32).itemsize
        self._rows.seek(first * row_bytes)
        rows = np.frombuffer(self._rows.read(len(token) * row_bytes), np.int32).reshape(-1, _COLUMNS)
        return Tokens(token, self.document[window], position, *rows.T)

    def first_of(self, document: int) -> int:
        """Ordinal of the first token of a document, or of the next document that has any."""
        return int(self._first[np.searchsorted(self.document, document)])

    def held_out(self, document: int) -> bool:
        """Whether a document is held out of building here."""
        return self.holdout and is_held_out(document)

    def ordinal(self, document: np.ndarray, position: np.ndarray) -> np.ndarray:
        """[n] int32 ordinals of the tokens at these places. Raises KeyError for a place that is not in the table."""
        window = np.searchsorted(self._keys, _keys(document, position), side="right") - 1
        ordinal = self._first[window] + position - self._position[window]
        if (
            (window < 0).any()
            or (document != self.document[window]).any()
            or (ordinal >= self._first[window + 1]).any()
        ):
            raise KeyError("a place that is not among the tokens read")
        return ordinal.astype(np.int32)


def _keys(document: np.ndarray, position: np.ndarray) -> np.ndarray:
    """[n] int64 places as numbers in the order of document and position."""
    return document.astype(np.int64) << 32 | position
