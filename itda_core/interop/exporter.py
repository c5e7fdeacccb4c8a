"""A dictionary of a library as a folder that other tools read, which is there whole or not at all."""

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
"""Names of the files that exports are made of: a folder with any other is not taken away."""


class Export(NamedTuple):
    """What was written."""

    id: str
    """The dictionary."""
    format: str
    """One of FORMATS."""
    folder: str
    """Where."""
    files: dict[str, int]
    """Name of each file → its bytes."""


def export(library: Library, dictionary_id: str, form: str, folder: Path, overwrite: bool = False) -> Export:
    """Write a dictionary in another format.

    Args:
        library: the library.
        dictionary_id: the dictionary.
        form: one of FORMATS.
        folder: where; made.
        overwrite: whether an earlier export that lies there may be replaced.

    Raises:
        UserError: there is no such dictionary or format, the dictionary cannot be written in it, or there is something
            at that place already.
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
    """Put what was written into its place; what is replaced is there again where that fails."""
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
    """Refuse a place where something is, unless it is an export that may be replaced."""
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
    except UserError:  # nowhere said, and no tokenizer here: taken for none, as `ItdaSae.of` does
        prefix = 0
    write_sae_folder(source, folder, prefix)


FORMATS: dict[str, Callable[[Exported, Path, Path], None]] = {
    "published": _published,
    "parquet": lambda source, folder, _: write_tables(source, folder),
    "safetensors": lambda source, folder, _: write_tensors(source, folder),
    "saelens": _saelens,
}
"""Name of a format → what writes it into a folder, given the library's folder too."""
