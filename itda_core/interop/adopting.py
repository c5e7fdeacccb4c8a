"""A whole dictionary of another library, such as one that was pulled: taken over as it is, by its hashes."""

import shutil
from pathlib import Path

from itda_core.files import read_json, sha256_of
from itda_core.jobs import build_lock
from itda_core.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.library import DictionaryRecord, Library, is_id
from itda_core.pipeline import part_of, place_finished
from itda_core.queries import Index
from itda_core.types import DamagedError

FILES = (ATOMS_FILE, INDEX_FILE)
"""What a whole dictionary is, beside its manifest."""


def read_manifest(path: Path) -> DictionaryRecord:
    """What a stranger's manifest says, its id one that a folder can have. Raises DamagedError."""
    manifest = read_json(path)
    dictionary_id = manifest.get("id") if isinstance(manifest, dict) else None
    if not isinstance(dictionary_id, str) or not is_id(dictionary_id):
        raise DamagedError(f"{path.name} names {str(dictionary_id)[:80]!r}, which is no id of a dictionary")
    return DictionaryRecord.parse(dictionary_id, manifest)


def check_hash(record: DictionaryRecord, path: Path) -> None:
    """Raises DamagedError where a file is not the one that the manifest names."""
    if record.files.get(path.name) != sha256_of(path):
        raise DamagedError(f"{path.name} is not the file that the manifest of {record.id} names: it is refused")


def adopt(library: Library, folder: Path) -> str:
    """Take the dictionary of a folder into a library, unless it is whole there already; returns its id.

    Raises:
        DamagedError: a file is missing, or is not the one that the manifest names, or cannot be read.
    """
    record = read_manifest(folder / MANIFEST_FILE)
    for name in FILES:
        if not (folder / name).is_file():
            raise DamagedError(f"{name} of {record.id} is missing")
        check_hash(record, folder / name)
    index = Index(folder / INDEX_FILE)
    index.close()
    if index.n_atoms != record.n_atoms:
        raise DamagedError(f"{INDEX_FILE} of {record.id} has {index.n_atoms} atoms where {record.n_atoms} are named")
    with build_lock(library.root, record.id):
        place_finished(library, record.id)
        if record.id in library.ids() and not any(library.verify(record.id)):
            return record.id
        part = part_of(library, record.id)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in (*FILES, MANIFEST_FILE):  # the manifest last: with it the folder is whole
            shutil.copyfile(folder / name, part / name)
        for name in FILES:
            check_hash(record, part / name)
        place_finished(library, record.id)
    return record.id
