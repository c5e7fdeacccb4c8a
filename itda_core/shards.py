"""Captured activations kept on disk: unit-norm in float16 with a float32 norm beside them, each shard with a checksum.

bfloat16 models reach values that float16 cannot hold; a unit-norm row always fits.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import torch
from safetensors.torch import load_file, save_file

from itda_core.capture import Batch
from itda_core.files import read_json, sha256_of, write_json
from itda_core.layout import MANIFEST_FILE
from itda_core.types import DamagedError, Site


class RecordedActivations:
    """Activations that were kept, read back batch by batch as they were captured, to float16's precision."""

    def __init__(self, folder: Path) -> None:
        """Open a folder that `record_activations` wrote. Raises DamagedError for one that is not."""
        self._folder = folder
        manifest = read_json(folder / MANIFEST_FILE)
        try:
            self._sites = {name: Site(int(layer), hook) for name, (layer, hook) in manifest["sites"].items()}
            self._shards: list[tuple[str, str]] = [(Path(name).name, digest) for name, digest in manifest["shards"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"{folder.name} does not hold recorded activations: delete the folder") from error

    def __iter__(self) -> Iterator[Batch]:
        for name, digest in self._shards:
            path = self._folder / name
            if not path.is_file() or sha256_of(path) != digest:
                raise DamagedError(
                    f"{name} of {self._folder.name} is missing or changed: delete the folder, build again"
                )
            tensors = load_file(path)
            activations = {
                site: tensors[f"{key}.unit"].float() * tensors[f"{key}.norm"][:, None]
                for key, site in self._sites.items()
            }
            yield Batch(activations, tensors["sources"])


def record_activations(
    batches: Iterable[Batch], folder: Path, progress: Callable[[int], None] | None = None
) -> RecordedActivations:
    """Write every batch to a shard in `folder`, which appears once whole; a folder that is there already is taken.

    Raises ValueError for a value that is not finite.
    """
    if not folder.is_dir():
        part = folder.with_name(f".{folder.name}.{uuid4().hex}")
        part.mkdir(parents=True)
        try:
            _write(batches, part, progress)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return RecordedActivations(folder)


def _write(batches: Iterable[Batch], folder: Path, progress: Callable[[int], None] | None) -> None:
    shards: list[tuple[str, str]] = []
    sites: dict[str, list] = {}
    for batch in batches:
        tensors = {"sources": batch.sources}
        for site, x in batch.activations.items():
            norm = x.norm(dim=1)
            if not torch.isfinite(norm).all():
                raise ValueError(f"layer {site.layer} {site.hook} has an activation that is not finite")
            key = f"{site.layer}.{site.hook}"
            sites[key] = [site.layer, site.hook]
            tensors[f"{key}.unit"] = (x / norm.clamp_min(torch.finfo(x.dtype).tiny)[:, None]).half()
            tensors[f"{key}.norm"] = norm
        path = folder / f"shard-{len(shards):06}.safetensors"
        save_file(tensors, path)
        shards.append((path.name, sha256_of(path)))
        if progress is not None:
            progress(len(batch.sources))
    write_json(folder / MANIFEST_FILE, {"format": 1, "sites": sites, "shards": shards})
