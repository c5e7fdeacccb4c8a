"""Read and verify the files of stored activations without loading torch."""

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
"""Version of the format in which activations are stored."""
CHECKSUM = 32
"""Number of hexadecimal digits of the SHA-256 in a shard's name."""
SHARD = re.compile(rf"shard-([0-9]{{6,}})-([0-9a-f]{{{CHECKSUM}}})\.safetensors")
"""Pattern of a shard's name: its number, and the checksum of its content."""


@dataclass(frozen=True)
class ShardsManifest:
    """Parsed manifest of stored activations."""

    sites: dict[str, tuple[Count, str]]
    """Layer and hook by the site's name in the shards."""
    shards: tuple[str, ...]
    """Names of the shards, in order."""

    @property
    def named_sites(self) -> dict[str, Site]:
        """Sites by their name in the shards."""
        return {name: Site(*site) for name, site in self.sites.items()}


def read_shards_manifest(folder: Path) -> ShardsManifest:
    """Read the manifest of a folder of stored activations.

    Raises DamagedError, or NewerError.
    """
    raw = read_json(folder / MANIFEST_FILE)
    subject, remedy = f"{MANIFEST_FILE} of {folder.name}", "the folder does not hold recorded activations, delete it"
    if isinstance(raw, dict) and check_format(raw.get("format"), FORMAT, subject, remedy) < FORMAT:
        raise UserError(f"{subject} is of an earlier version, which kept other activations: delete the folder")
    manifest = parse(ShardsManifest, raw, subject, remedy)
    try:
        manifest.named_sites  # noqa: B018 - raises for an unknown hook
    except UserError as error:
        raise damaged(subject, str(error), remedy) from error
    if any(not SHARD.fullmatch(name) for name in manifest.shards):
        raise damaged(subject, "it names what is no shard", remedy)
    return manifest


def is_whole(path: Path) -> bool:
    """Return whether a file is a shard whose content matches the checksum in its name.

    Raises OSError if it cannot be read.
    """
    match = SHARD.fullmatch(path.name)
    return match is not None and sha256_of(path).startswith(match[2])


def verify_shards(folder: Path) -> Iterator[str]:
    """Verify a folder of stored activations; yield one line per problem.

    A folder that is still being filled may be incomplete.
    """
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
