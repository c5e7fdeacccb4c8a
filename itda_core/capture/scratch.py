"""Activations of one run, stored exactly until it ends, so that the model reads the texts only once."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError

from itda_core.capture.local import Batch
from itda_core.capture.store import Packed, read_shard, whole_shards, write_shard
from itda_core.common.disk_errors import place_error


class Batches(Protocol):
    """Repeatable stream of activation batches."""

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from number `first` on."""
        ...


class ScratchBatches:
    """Batches of a capture, stored in float32 as they first pass and read from the disk from then on.

    They are equal to those of the capture to the bit. What an interrupted run stored is used again. If the disk fills
    up, what is stored is deleted, and every pass computes its batches.
    """

    def __init__(self, capture: Batches, folder: Path) -> None:
        """Use a folder, created if missing, that no other process writes to."""
        self._capture = capture
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._shards = whole_shards(folder)
        self._has_room = True

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Yield the batches from number `first` on.

        Raises UserError for a value that is not finite, DamagedError for a stored batch that was changed.
        """
        number = first
        while number < len(self._shards):
            yield read_shard(self._shards[number])
            number += 1
        begin = len(self._shards) if self._has_room else number
        for at, batch in enumerate(self._capture.batches(begin), begin):
            if self._has_room:
                self._store(batch, at)
            if at >= number:
                yield batch

    def _store(self, batch: Batch, number: int) -> None:
        try:
            self._shards.append(write_shard(_unscaled(batch), self._folder, number))
        except (OSError, SafetensorError) as error:
            if place_error(error) is None:
                raise
            self._has_room, self._shards = False, []
            shutil.rmtree(self._folder, ignore_errors=True)


def _unscaled(batch: Batch) -> Packed:
    """Return a batch in its stored form, with a norm of 1 for every row."""
    return Packed(batch.activations, {site: torch.ones(len(x)) for site, x in batch.activations.items()}, batch.sources)
