"""What lies in a folder of kept activations, as far as it can be told without loading torch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from itda_core.common.errors import UserError
from itda_core.common.files import is_changed, is_file, read_json, sha256_of
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.types import Site
from itda_core.common.validate import Count, check_format, damaged, parse

FORMAT = 2
"""The number of the format that activations are kept in."""
CHECKSUM = 32
"""Hexadecimal digits of the SHA-256 in a shard's name."""
SHARD = re.compile(rf"shard-([0-9]{{6,}})-([0-9a-f]{{{CHECKSUM}}})\.safetensors")
"""A shard's name: its number, and the checksum of its content."""


@dataclass(frozen=True)
class ShardsManifest:
    """What the manifest of kept activations says."""

    sites: dict[str, tuple[Count, str]]
    """By the name in the shards: layer and hook."""
    shards: tuple[str, ...]
    """Names of the shards, in order."""

    @property
    def named_sites(self) -> dict[str, Site]:
        """The sites by their name in the shards."""
        return {name: Site(*site) for name, site in self.sites.items()}


def read_shards_manifest(folder: Path) -> ShardsManifest:
    """The manifest of a folder of kept activations. Raises DamagedError, or NewerError."""
    said = read_json(folder / MANIFEST_FILE)
    what, remedy = f"{MANIFEST_FILE} of {folder.name}", "the folder does not hold recorded activations, delete it"
    if isinstance(said, dict) and check_format(said.get("format"), FORMAT, what, remedy) < FORMAT:
        raise UserError(f"{what} is of an earlier version, which kept other activations: delete the folder")
    manifest = parse(ShardsManifest, said, what, remedy)
    try:
        manifest.named_sites  # noqa: B018 - a hook that there is not
    except UserError as error:
        raise damaged(what, str(error), remedy) from error
    if any(not SHARD.fullmatch(name) for name in manifest.shards):
        raise damaged(what, "it names what is no shard", remedy)
    return manifest


def is_whole(path: Path) -> bool:
    """Whether a file is a shard with the content that its name says. Raises OSError where it cannot be read."""
    match = SHARD.fullmatch(path.name)
    return match is not None and sha256_of(path).startswith(match[2])


def verify_shards(folder: Path) -> Iterator[str]:
    """Problems of a folder of kept activations, a line each; one that is still being filled need not be whole."""
    try:
        names = {path.name for path in folder.iterdir() if SHARD.fullmatch(path.name)}
        if is_file(folder / MANIFEST_FILE):
            if is_changed(read_json(folder / MANIFEST_FILE)):
                yield f"{MANIFEST_FILE} is not as it was written: delete the folder"
            named = read_shards_manifest(folder).shards
            yield from (f"{name} is missing: delete the folder" for name in named if name not in names)
    except UserError as error:
        yield str(error)
    except OSError as error:
        yield f"it cannot be read: {error.strerror or error}"
        return
    for name in sorted(names):
        try:
            if not is_whole(folder / name):
                yield f"{name} is not the file that was written: delete the folder"
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror or error}"
