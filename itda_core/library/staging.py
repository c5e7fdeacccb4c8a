"""Move a finished dictionary into its place in the library."""

import shutil
from pathlib import Path

from itda_core.common.files import place_folder
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.library.library import Library


def place_finished(library: Library, dictionary_id: str) -> None:
    """Move a staged dictionary into its place, if it is complete.

    The caller must hold its lock.
    """
    part, folder = part_of(library, dictionary_id), library.dictionaries / dictionary_id
    if not (part / MANIFEST_FILE).is_file():  # the manifest is written last
        return
    for path in part.iterdir():
        if path.name not in (MANIFEST_FILE, ATOMS_FILE, INDEX_FILE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    damaged = part.with_name(f".{dictionary_id}.damaged")
    shutil.rmtree(damaged, ignore_errors=True)
    if folder.exists():  # it is damaged; otherwise it would not have been rebuilt
        folder.rename(damaged)
    place_folder(part, folder)
    shutil.rmtree(damaged, ignore_errors=True)


def part_of(library: Library, dictionary_id: str) -> Path:
    """Return the folder in which a dictionary is staged before it is moved into place.

    The caller must hold its lock.
    """
    return library.dictionaries / f".{dictionary_id}.part"
