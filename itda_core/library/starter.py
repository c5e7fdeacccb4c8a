"""Copy the dictionary that ships with the project into a library, so that a first start has something to read.

It is of a pretrained model, over texts that the model wrote: `data/smollm2/README.md`.
"""

import shutil
from pathlib import Path

from itda_core.common.disk_errors import writing
from itda_core.common.errors import DamagedError
from itda_core.common.files import place_folder
from itda_core.common.parts import part_beside
from itda_core.library.library import Library

STARTER = Path(__file__).parents[2] / "data" / "smollm2" / "library"
"""Library that ships with the project; it may be missing."""


def starter_ids() -> list[str]:
    """List the dictionaries that ship with the project; none if it was installed without them."""
    return Library(STARTER).ids()


def add_starter(library: Library) -> list[str]:
    """Copy what ships with the project into a library; return the ids of its dictionaries.

    What is there already stays as it is. Without the project's data nothing is copied.

    Raises:
        DamagedError: a file of it is not as its manifest names it.
        UserError: the library cannot be written.
    """
    source, ids = Library(STARTER), starter_ids()
    if not ids:
        return []
    for dictionary_id in ids:
        if problem := next(source.verify(dictionary_id), None):
            raise DamagedError(f"the dictionary that comes with the project is damaged ({problem}): clone it again")
    with writing(library.root):
        for corpus in sorted(source.corpora.iterdir()):  # first, since dictionaries name them
            _copy(corpus, library.corpora / corpus.name)
        for dictionary_id in ids:
            _copy(source.folder(dictionary_id), library.dictionaries / dictionary_id)
    return ids


def _copy(source: Path, to: Path) -> None:
    """Copy a folder into place atomically, unless it is there."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.exists():
        return
    with part_beside(to, Path.mkdir) as part:
        shutil.copytree(source, part, dirs_exist_ok=True, copy_function=shutil.copyfile)
        try:
            place_folder(part, to)
        except OSError:
            if not to.is_dir():  # otherwise another session of the app was faster
                raise
