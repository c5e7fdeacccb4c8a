"""Put a finished dictionary in its place in the library."""

import shutil
from pathlib import Path

from itda_core.common.files import place_folder
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.library.library import Library


def place_finished(library: Library, dictionary_id: str) -> None:
    """Put a dictionary that was made into its place; does nothing where none is whole. Its lock must be held."""
    part, folder = part_of(library, dictionary_id), library.dictionaries / dictionary_id
    if not (part / MANIFEST_FILE).is_file():  # it is written last
        return
    for path in part.iterdir():
        if path.name not in (MANIFEST_FILE, ATOMS_FILE, INDEX_FILE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    damaged = part.with_name(f".{dictionary_id}.damaged")
    shutil.rmtree(damaged, ignore_errors=True)
    if folder.exists():  # damaged, or it would not have been built again
        folder.rename(damaged)
    place_folder(part, folder)
    shutil.rmtree(damaged, ignore_errors=True)


def part_of(library: Library, dictionary_id: str) -> Path:
    """Where a dictionary is made before it is put into its place. Its lock must be held."""
    return library.dictionaries / f".{dictionary_id}.part"
