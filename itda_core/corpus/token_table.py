"""Table of all tokens that were read, in the order of their activations."""

from array import array
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import numpy as np

from itda_core.common.errors import UserError
from itda_core.corpus.windows import Window, is_held_out, shown_from

_COLUMNS = 4  # in the file of a TokenTable: token_id, start, stop, shown_from


def check_held_out(table: "TokenTable", tokens: int, otherwise: str = ", or give --no-holdout") -> None:
    """Check that a table with a holdout contains tokens of a held-out document.

    Raises UserError.

    Args:
        table: the tokens that were read.
        tokens: maximum number of tokens to capture.
        otherwise: an alternative remedy, at the end of the error.
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
    """A block of tokens, column by column: arrays of equal length, int32."""

    token: np.ndarray
    """Ordinal among all tokens that were read."""
    document: np.ndarray
    """Ordinal of the document."""
    position: np.ndarray
    """Position among the document's own tokens."""
    token_id: np.ndarray
    """Id in the tokenizer's vocabulary."""
    start: np.ndarray
    """Character offset of the token's start in its document."""
    stop: np.ndarray
    """Character offset of its end."""
    shown_from: np.ndarray
    """Character offset from which it is displayed: the end of the previous token, see `shown_from`."""


class TokenTable:
    """All tokens that were read, in order of document and position.

    A token's ordinal is its row in this table. Memory holds a few numbers per window. The data per token is stored in a
    temporary file, 16 bytes a token, which is deleted with the table.

    Attributes:
        n_captured: number of captured tokens.
        holdout: whether held-out documents are excluded from building.
        document: [n_windows] int32, each window's document.
    """

    def __init__(
        self, rows: BinaryIO, document: array, position: array, first: array, n_captured: int, holdout: bool
    ) -> None:
        """Create a table from its parts; use `of` instead.

        Args:
            rows: the file.
            document, position: of each window's first token.
            first: the ordinal of each window's first token, followed by the number of tokens.
            n_captured: number of captured tokens.
            holdout: whether held-out documents are excluded from building.
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
        """Tabulate the tokens of windows, in their order.

        Args:
            windows: in order of document and position.
            holdout: whether held-out documents are excluded from building.
            folder: folder of the temporary file; the system's default if None.
        """
        file = TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed, and so deleted, with the table
        # Typed arrays that grow in place: a list of windows would take more memory than their tokens.
        document, position, first = array("i"), array("i"), array("q", [0])
        n_captured = 0
        reached = 0  # end of the document's tokens so far
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
        """Return the tokens with ordinals in [first, stop); all by default."""
        stop = len(self) if stop is None else min(stop, len(self))
        token = np.arange(first, stop, dtype=np.int32)
        window = np.searchsorted(self._first, token, side="right") - 1
        position = (self._position[window] + token - self._first[window]).astype(np.int32)
        row_bytes = _COLUMNS * np.dtype(np.int32).itemsize
        self._rows.seek(first * row_bytes)
        rows = np.frombuffer(self._rows.read(len(token) * row_bytes), np.int32).reshape(-1, _COLUMNS)
        return Tokens(token, self.document[window], position, *rows.T)

    def first_of(self, document: int) -> int:
        """Return the ordinal of the first token of a document.

        If the document has no tokens, that of the next document with any.
        """
        return int(self._first[np.searchsorted(self.document, document)])

    def held_out(self, document: int) -> bool:
        """Return whether a document is held out of building here."""
        return self.holdout and is_held_out(document)

    def ordinal(self, document: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return [n] int32 ordinals of the tokens at documents and positions.

        Raises KeyError for a place that is not in the table.
        """
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
    """Return [n] int64 keys that sort by document and position."""
    return document.astype(np.int64) << 32 | position
