"""Where the building of a dictionary is, kept in a file, so that a build that was killed goes on there."""

import time
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from itda_core.common.files import written_whole
from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.builder import DictionaryBuilder

SAVE_EVERY = 30.0
"""Seconds between two saves, at the least."""
_SAVE_SHARE = 0.05  # of the time that saving may take


class Progress(NamedTuple):
    """A builder and how far it is."""

    builder: DictionaryBuilder
    """The builder."""
    batches: int
    """Batches that it was given."""
    tokens: int
    """Captured tokens in them, held-out ones included."""


class Checkpoint:
    """The file that says where one dictionary's building is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved, self._took = time.monotonic(), 0.0

    def load(self, settings: DictionarySettings, device: torch.device) -> Progress:
        """Where the building was, or its beginning. What cannot be read costs time and nothing else: it begins anew."""
        try:
            state = load_file(self._path)
            builder = DictionaryBuilder.resume(settings, state, device)
            return Progress(builder, int(state["batches"]), int(state["tokens"]))
        except (FileNotFoundError, SafetensorError, KeyError):
            return Progress(DictionaryBuilder(settings), 0, 0)

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved > max(SAVE_EVERY, self._took / _SAVE_SHARE)

    def save(self, progress: Progress) -> None:
        """Write where the building is, whole or not at all."""
        began = time.monotonic()
        state = progress.builder.state()
        counts = {"batches": torch.tensor(progress.batches), "tokens": torch.tensor(progress.tokens)}
        with written_whole(self._path) as part:
            save_file(state | counts, part)
        self._saved = time.monotonic()
        self._took = self._saved - began
