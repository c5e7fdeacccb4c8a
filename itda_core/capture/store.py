"""Store activations on disk: float16 unit vectors with float32 norms.

Each batch is one shard. A shard is written to a temporary file and renamed when complete, and its name contains the
checksum of its content; so an interrupted capture continues after the last complete shard. bfloat16 models reach values
beyond the range of float16; a unit-norm row always fits.
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from itda_core.capture.local import Batch
from itda_core.capture.shard_files import CHECKSUM, FORMAT, SHARD, is_whole, read_shards_manifest
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import sha256_of, write_sealed, written_whole
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.types import Site


class Packed(NamedTuple):
    """A batch of activations in its stored form."""

    unit: dict[Site, torch.Tensor]
    """Per site [n, d_model] float16: the activations, scaled to unit norm."""
    norm: dict[Site, torch.Tensor]
    """Per site [n] float32: their norms."""
    sources: torch.Tensor
    """[n, 2] int64: document, position."""


def pack(batch: Batch) -> Packed:
    """Scale a batch's activations to unit norm; zero rows stay zero."""
    norm = {site: x.norm(dim=1) for site, x in batch.activations.items()}
    tiny = torch.finfo(torch.float32).tiny
    unit = {site: (x / norm[site].clamp_min(tiny)[:, None]).half() for site, x in batch.activations.items()}
    return Packed(unit, norm, batch.sources)


class RecordedActivations:
    """Stored activations, read back batch by batch, to float16's precision."""

    def __init__(self, folder: Path) -> None:
        """Open a folder that `record_activations` filled.

        Raises DamagedError for any other folder, NewerError for a newer format.
        """
        self._folder = folder
        manifest = read_shards_manifest(folder)
        self._sites, self._shards = manifest.named_sites, manifest.shards

    @property
    def sites(self) -> list[Site]:
        """Captured sites, sorted."""
        return sorted(self._sites.values())

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def sources(self) -> torch.Tensor:
        """Return [n, 2] int64 document and position of all rows.

        The shards' checksums are not verified. Raises DamagedError for a shard that cannot be read.
        """
        found = [torch.empty(0, 2, dtype=torch.int64)]
        for name in self._shards:
            try:
                with safe_open(self._folder / name, "pt") as file:
                    found.append(file.get_tensor("sources"))
            except (OSError, SafetensorError) as error:
                raise _damaged(self._folder / name) from error
        return torch.cat(found)

    def batches(self, first: int = 0, sites: Collection[Site] | None = None) -> Iterator[Batch]:
        """Yield the batches from number `first` on, of all sites by default.

        Raises DamagedError for a shard that is missing or was changed.
        """
        wanted = [site for site in self._sites.values() if sites is None or site in sites]
        for name in self._shards[first:]:
            yield read_shard(self._folder / name, wanted)


def read_shard(path: Path, sites: Collection[Site] | None = None) -> Batch:
    """Read a stored batch, of all sites by default.

    Raises DamagedError for a shard that is missing or was changed.
    """
    if not path.is_file() or not is_whole(path):
        raise _damaged(path)
    tensors = load_file(path)
    if sites is None:
        sites = list(_named_sites(tensors).values())
    keys = {site: f"{site.layer}.{site.hook}" for site in sites}
    activations = {site: tensors[f"{key}.unit"].float() * tensors[f"{key}.norm"][:, None] for site, key in keys.items()}
    return Batch(activations, tensors["sources"])


def record_activations(
    batches: Callable[[int], Iterator[Packed]], folder: Path, progress: Callable[[int], None] | None = None
) -> RecordedActivations:
    """Store batches in `folder`, one shard each, continuing an earlier call.

    Batches that are already stored are not requested again.

    Args:
        batches: returns the batches from a number on; the same ones at every call.
        folder: the folder; no other process may write to it meanwhile.
        progress: called with the rows of each batch, including those already stored.

    Raises UserError for a value that is not finite; the batches before it remain stored.
    """
    if (folder / MANIFEST_FILE).is_file():
        return RecordedActivations(folder)
    folder.mkdir(parents=True, exist_ok=True)
    progress = progress or (lambda rows: None)
    shards = whole_shards(folder)
    for path in shards:
        progress(len(load_file(path)["sources"]))
    for packed in batches(len(shards)):
        shards.append(write_shard(packed, folder, len(shards)))
        progress(len(packed.sources))
    sites = _named_sites(load_file(shards[0])) if shards else {}
    named = {key: [site.layer, site.hook] for key, site in sites.items()}
    manifest = {"format": FORMAT, "sites": named, "shards": [path.name for path in shards]}
    write_sealed(folder / MANIFEST_FILE, manifest)
    return RecordedActivations(folder)


def whole_shards(folder: Path) -> list[Path]:
    """Return the leading complete shards of a folder, and remove all other shards."""
    found = {int(match[1]): path for path in folder.iterdir() if (match := SHARD.fullmatch(path.name))}
    shards: list[Path] = []
    while len(shards) in found and is_whole(found[len(shards)]):
        shards.append(found[len(shards)])
    for path in folder.iterdir():  # also temporary files of killed processes: the writer holds the folder's lock
        if path not in shards and path.name.startswith((".", "shard-")):
            path.unlink()
    return shards


def write_shard(packed: Packed, folder: Path, number: int) -> Path:
    """Write a batch as the shard of this number, and return its path.

    Raises UserError for a value that is not finite.
    """
    tensors = {"sources": packed.sources}
    for site, norm in packed.norm.items():
        if not torch.isfinite(norm).all() or not torch.isfinite(packed.unit[site]).all():
            raise UserError(f"layer {site.layer} {site.hook} has an activation that is not finite: try another --dtype")
        tensors[f"{site.layer}.{site.hook}.unit"], tensors[f"{site.layer}.{site.hook}.norm"] = packed.unit[site], norm
    whole = folder / f".shard-{number:06}"
    with written_whole(whole) as part:
        save_file(tensors, part)
    return whole.rename(folder / f"shard-{number:06}-{sha256_of(whole)[:CHECKSUM]}.safetensors")


def _named_sites(tensors: dict[str, torch.Tensor]) -> dict[str, Site]:
    """Return the sites of a shard by their names in it."""
    keys = [name.removesuffix(".norm") for name in tensors if name.endswith(".norm")]
    return {key: Site(int(layer), hook) for key in keys for layer, hook in [key.split(".")]}


def _damaged(path: Path) -> DamagedError:
    return DamagedError(f"{path.name} of {path.parent.name} is missing or changed: delete the folder, build again")
