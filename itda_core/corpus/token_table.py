"""The table of all captured tokens, in the order of their activations."""

from array import array
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import numpy as np

from itda_core.common.errors import UserError
from itda_core.corpus.windows import Window, is_held_out, shown_from

_COLUMNS = 4  # of the file of a TokenTable: token_id, start, stop, shown_from


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
