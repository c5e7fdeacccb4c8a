"""Remove a dictionary from a library, with what was computed from it."""

import shutil
from pathlib import Path
from uuid import uuid4

from itda_core.common.disk_errors import writing
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library


def comparisons_of(library: Library, dictionary_id: str) -> list[Path]:
    """Return the folders of a dictionary's comparisons and transplants, with any other dictionary."""
    folders = library.comparisons.iterdir() if library.comparisons.is_dir() else ()
    return sorted(folder for folder in folders if _is_of(folder.name, dictionary_id))


def _is_of(name: str, dictionary_id: str) -> bool:
    """Return whether a folder's name is that of a comparison of a dictionary, `A--B-DIGEST`.

    Folders that are being written begin with a dot. An id with `--` in it makes some names ambiguous: those stay.
    """
    a, between, b = name.rsplit("-", 1)[0].partition("--")
    return not name.startswith(".") and bool(between) and "--" not in b and dictionary_id in (a, b)


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def remove_dictionary(library: Library, dictionary_id: str) -> None:
    """Remove a dictionary and its comparisons; its corpus, SAEs and stored activations stay.

    A damaged dictionary can be removed too.

    Raises UserError for an unknown id, if the dictionary is being built, or if it cannot be removed.
    """
    folder = library.folder(dictionary_id)
    with build_lock(library.root, dictionary_id), writing(library.root):
        for each in (*comparisons_of(library, dictionary_id), folder):
            # First under a name that no reader takes for one, so that none sees a part of it.
            gone = each.rename(each.with_name(f".{each.name}.{uuid4().hex}"))
            if gone.is_symlink():
                gone.unlink()  # the folder that it leads to is not the library's
            else:
                shutil.rmtree(gone)
