"""Decompose any text's activations into a dictionary's atoms."""

import threading

import numpy as np
import torch

from itda_core.capture.local import Capture
from itda_core.common.errors import UserError
from itda_core.common.settings import WindowSettings
from itda_core.common.text import has_half_characters
from itda_core.corpus.windows import Window, shown_from, windows_of
from itda_core.decompose.passages import MOST_CHARACTERS, Decomposition, PassageToken, Terms
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import relative_errors
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.model import Model

MOST_TOKENS = 2_048
"""Maximum number of tokens read from a text, in complete windows; one window is always read, whatever its length."""


class Decomposer:
    """A dictionary and its model; thread-safe."""

    def __init__(self, record: DictionaryManifest, model: Model, dictionary: Dictionary) -> None:
        """Combine a dictionary with its model.

        Raises:
            UserError: the model is not the one that the dictionary was built from.
        """
        if model.tokenizer_sha256() != record.tokenizer_sha256:
            raise UserError(f"the tokenizer of {record.model} here is not the one {record.id} was built with")
        self._model, self._dictionary = model, dictionary
        self._site = record.site
        self._cut = WindowSettings(record.cut.context, "all", record.cut.keep_first)
        self._lock = threading.Lock()  # guards the dictionary's buffers; the model has its own lock

    def decompose(self, text: str) -> Decomposition:
        """Decompose a text, up to the maximum number of tokens.

        Raises:
            UserError: the text is empty, too long, or cannot be encoded; or the model produces values that are not
                finite.
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
        dictionary = self._dictionary
        with self._lock:
            codes = dictionary.encode(x)
        reconstruction = dictionary.decode(codes, len(x))
        without_atoms = dictionary.mean.expand_as(x)
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
            mean=float(dictionary.mean.norm()) if dictionary.is_centered else None,
            left_by_mean=relative_errors(x, without_atoms).numpy(),
        )

    def _activations(self, windows: list[Window]) -> torch.Tensor:
        """Return the activations of the captured tokens of all windows.

        Shape [captured, d_model].
        """
        read = [window for window in windows if len(window.captured)]  # as `cut` specifies
        batches = Capture(self._model, [self._site], lambda: read)
        rows = [batch.activations[self._site] for batch in batches]
        return torch.cat(rows) if rows else torch.empty(0, self._dictionary.d_model)

    def _left(self, x: torch.Tensor, bounds: np.ndarray, atom: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
        """Return the reconstruction error after each term, row by row.

        Shape [terms].
        """
        atoms = self._dictionary.atoms.numpy()
        left = np.empty(len(atom))
        mean = self._dictionary.mean.numpy().astype(np.float64)
        for row, vector in enumerate(x.numpy().astype(np.float64)):
            here = slice(bounds[row], bounds[row + 1])
            rest = vector - mean - np.cumsum(coefficient[here, None].astype(np.float64) * atoms[atom[here]], axis=0)
            left[here] = np.einsum("kd,kd->k", rest, rest) / (vector @ vector or 1.0)
        return left


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
