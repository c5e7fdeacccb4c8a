"""Any text decomposed with a dictionary: the model runs over it as it did to build, and every token gets its code.

The text is cut as `itda build --windows all` cuts one, with the dictionary's own context: windows one after another,
the model anew at each, a window's first token left out unless the dictionary has kept it. So the first window gives
exactly what capture gives for a document that begins with it.
"""

import threading
from pathlib import Path

import numpy as np
import torch

from itda_core.capture import Capture
from itda_core.config import CutSettings
from itda_core.dictionary import Dictionary
from itda_core.library import DictionaryRecord
from itda_core.model_places import model_places
from itda_core.models import Model, load_model
from itda_core.passages import MOST_CHARACTERS, Decomposition, PassageToken, Terms
from itda_core.pipeline import relative_errors
from itda_core.types import UserError, has_half_characters
from itda_core.windows import Window, shown_from, windows_of

MOST_TOKENS = 2_048
"""Tokens that are read of a text, in whole windows; one window is always read, however long it is."""


class Decomposer:
    """A dictionary and its model; safe to share between threads."""

    def __init__(self, record: DictionaryRecord, model: Model, dictionary: Dictionary) -> None:
        """Put them together.

        Raises:
            UserError: the model is not the one that the dictionary was built from.
        """
        if model.tokenizer_sha256() != record.tokenizer_sha256:
            raise UserError(f"the tokenizer of {record.model} here is not the one {record.id} was built with")
        self._model, self._dictionary = model, dictionary
        self._site = record.site
        self._cut = CutSettings(record.cut.context, "all", record.cut.keep_first)
        self._lock = threading.Lock()  # of the dictionary's buffers; the model has its own

    def decompose(self, text: str) -> Decomposition:
        """Decompose a text, as far as it is read.

        Raises:
            UserError: the text is empty, too long, or cannot be encoded; or the model gives values that are not finite.
        """
        if not text.strip():
            raise UserError("there is no text to decompose: type some")
        if len(text) > MOST_CHARACTERS:
            raise UserError(f"the text has {len(text):,} characters: give {MOST_CHARACTERS:,} at most")
        if has_half_characters(text):
            raise UserError("the text holds half a character: type it again")
        windows = windows_of(text, self._model.tokenizer, self._cut)
        windows = windows[: max(1, MOST_TOKENS // self._cut.context)]
        x = self._activations(windows)
        with self._lock:
            codes = self._dictionary.encode(x)
        reconstruction = self._dictionary.decode(codes, len(x))
        order = np.lexsort((-np.abs(codes.coefficient), codes.row))
        atom, coefficient = codes.atom[order], codes.coefficient[order]
        bounds = np.searchsorted(codes.row, np.arange(len(x) + 1))
        return Decomposition(
            text=text,
            tokens=_tokens(windows),
            windows=len(windows),
            bounds=bounds,
            terms=Terms(atom, coefficient, self._left(x, bounds, atom, coefficient)),
            norm=x.norm(dim=1).numpy(),
            error=relative_errors(x, reconstruction).numpy(),
        )

    def _activations(self, windows: list[Window]) -> torch.Tensor:
        """[captured, d_model] of the captured tokens of all windows."""
        read = [window for window in windows if len(window.captured)]  # as `cut` has it
        batches = Capture(self._model, [self._site], lambda: read)
        rows = [batch.activations[self._site] for batch in batches]
        return torch.cat(rows) if rows else torch.empty(0, self._dictionary.d_model)

    def _left(self, x: torch.Tensor, bounds: np.ndarray, atom: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
        """[terms] errors with the terms up to each, row by row."""
        atoms = self._dictionary.atoms.numpy()
        left = np.empty(len(atom))
        for row, vector in enumerate(x.numpy().astype(np.float64)):
            here = slice(bounds[row], bounds[row + 1])
            rest = vector - np.cumsum(coefficient[here, None].astype(np.float64) * atoms[atom[here]], axis=0)
            left[here] = np.einsum("kd,kd->k", rest, rest) / (vector @ vector or 1.0)
        return left


def open_model(record: DictionaryRecord, root: Path) -> Model:
    """Load the model that a dictionary was built from, which takes its time.

    Args:
        record: the dictionary.
        root: the library's folder.

    Raises:
        UserError: the model is not on this machine, or its weights are not those of the dictionary.
    """
    refused: UserError | None = None
    for place in model_places(record, root):
        try:
            model = load_model(place, record.revision, dtype=record.dtype)
        except UserError as error:  # a folder of that name with half a model in it, for instance
            refused = error
            continue
        if model.weights_sha256() == record.weights_sha256:
            if model.tokenizer_sha256() == record.tokenizer_sha256:
                return model
            refused = UserError(f"the tokenizer of {record.model} here is not the one {record.id} was built with")
        del model
    if refused is not None:
        raise refused
    raise UserError(
        f"the weights of {record.model} on this machine are not those that {record.id} was built from: build the "
        "dictionary again, or bring those weights back"
    )


def _tokens(windows: list[Window]) -> tuple[PassageToken, ...]:
    found: list[PassageToken] = []
    row = 0
    spans = [span for window in windows for span in window.spans]
    shown = iter(shown_from([stop for _, stop in spans]).tolist())
    for window in windows:
        for at, (token_id, (start, stop)) in enumerate(zip(window.tokens, window.spans, strict=True)):
            captured = at in window.captured
            found.append(PassageToken(token_id, start, stop, next(shown), row if captured else None))
            row += captured
    return tuple(found)
