"""Export a dictionary of a library in another tool's format, atomically."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from itda_core.common.disk_errors import writing
from itda_core.common.errors import UserError
from itda_core.common.files import place_folder
from itda_core.common.parts import clear_parts, part_beside
from itda_core.interop.formats.manifest import ABOUT_FILE, Exported, open_exported, published_form, special_before
from itda_core.interop.formats.parquet import write_tables
from itda_core.interop.formats.published import write_published
from itda_core.interop.formats.safetensors import write_tensors
from itda_core.interop.saelens import write_sae_folder
from itda_core.library.library import Library

_WRITTEN = re.compile(
    r"atoms\.pt|atom_indices\.pt|metadata\.yaml|(atoms|codes)\.parquet|dictionary\.safetensors|"
    rf"codes-\d{{5}}\.safetensors|cfg\.json|sae_weights\.safetensors|{re.escape(ABOUT_FILE)}"
)
"""Names of the files of exports: a folder with any other file is not replaced."""


class Export(NamedTuple):
    """Result of an export."""

    id: str
    """Id of the dictionary."""
    format: str
    """One of FORMATS."""
    folder: str
    """Target folder."""
    files: dict[str, int]
    """File name → size in bytes."""


def export(library: Library, dictionary_id: str, form: str, folder: Path, overwrite: bool = False) -> Export:
    """Write a dictionary in another format.

    Args:
        library: the library.
        dictionary_id: id of the dictionary.
        form: one of FORMATS.
        folder: target folder; created if missing.
        overwrite: whether an earlier export in that folder may be replaced.

    Raises:
        UserError: there is no such dictionary or format, the dictionary cannot be written in it, or the target folder
            is already in use.
    """
    if form not in FORMATS:
        raise UserError(f"there is no format {form!r}: choose one of {', '.join(FORMATS)}")
    _check_place(folder, overwrite)
    source = open_exported(library, dictionary_id)
    place = folder.absolute()
    try:
        with writing(folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            clear_parts(place.parent, place.name)
            with part_beside(place, Path.mkdir) as part:
                FORMATS[form](source, part, library.root)
                _put(part, folder, overwrite)
    finally:
        source.index.close()
    return Export(
        dictionary_id, form, str(folder), {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    )


def _put(part: Path, folder: Path, overwrite: bool) -> None:
    """Move the written folder into place.

    The replaced export is restored if this fails.
    """
    replaced = part.with_name(f"{part.name}.old")
    if folder.exists():
        _check_place(folder, overwrite)
        folder.rename(replaced)
    try:
        place_folder(part, folder)
    except OSError:
        if replaced.exists():
            replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _check_place(folder: Path, overwrite: bool) -> None:
    """Reject a target that exists, unless it is empty or a replaceable export.

    Raises UserError.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{str(folder)!r} is no folder: name another with --to")
    found = [path.name for path in folder.iterdir()]
    if not found:
        return
    if not overwrite:
        raise UserError(f"{str(folder)!r} is there already: name another with --to, or give --overwrite")
    if other := next((name for name in sorted(found) if not _WRITTEN.fullmatch(name)), None):
        raise UserError(f"{str(folder)!r} holds {other!r}, which is not of an export: name another folder with --to")


def _published(source: Exported, folder: Path, root: Path) -> None:
    write_published(published_form(source, root), folder)


def _saelens(source: Exported, folder: Path, root: Path) -> None:
    try:
        prefix = special_before(source, root)
    except UserError:  # neither recorded nor a tokenizer available: assumed to be none, as `ItdaSae.of` does
        prefix = 0
    write_sae_folder(source, folder, prefix)


FORMATS: dict[str, Callable[[Exported, Path, Path], None]] = {
    "published": _published,
    "parquet": lambda source, folder, _: write_tables(source, folder),
    "safetensors": lambda source, folder, _: write_tensors(source, folder),
    "saelens": _saelens,
}
"""Format name → function that writes it, called with the source, the target folder and the library's folder."""
