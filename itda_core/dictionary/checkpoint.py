"""Checkpoint file of a dictionary's build, from which a killed build resumes."""

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
"""Minimum number of seconds between two saves."""
_SAVE_SHARE = 0.05  # maximum share of the time spent on saving


class Progress(NamedTuple):
    """A builder and its progress."""

    builder: DictionaryBuilder
    """The builder."""
    batches: int
    """Number of batches that it has consumed."""
    tokens: int
    """Captured tokens in them, held-out ones included."""


class Checkpoint:
    """Checkpoint file of one dictionary's build."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved, self._took = time.monotonic(), 0.0

    def load(self, settings: DictionarySettings, device: torch.device, mean: torch.Tensor | None = None) -> Progress:
        """Read the saved progress; an unreadable or missing file gives a fresh start.

        `mean` is that of the activations, for settings with centring.
        """
        try:
            state = load_file(self._path)
            builder = DictionaryBuilder.resume(settings, state, device, mean)
            return Progress(builder, int(state["batches"]), int(state["tokens"]))
        except (FileNotFoundError, SafetensorError, KeyError):
            return Progress(DictionaryBuilder(settings, mean), 0, 0)

    @property
    def due(self) -> bool:
        """Flag that the next save is due."""
        return time.monotonic() - self._saved > max(SAVE_EVERY, self._took / _SAVE_SHARE)

    def save(self, progress: Progress) -> None:
        """Write the progress atomically."""
        began = time.monotonic()
        state = progress.builder.state()
        counts = {"batches": torch.tensor(progress.batches), "tokens": torch.tensor(progress.tokens)}
        with written_whole(self._path) as part:
            save_file(state | counts, part)
        self._saved = time.monotonic()
        self._took = self._saved - began
