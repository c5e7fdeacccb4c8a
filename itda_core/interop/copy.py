"""Copy a complete dictionary from another library, after validation.

The source may be one that was pulled from the Hub. The recorded hashes come from the dictionary's author: they detect
files damaged in transfer, and do not vouch for the content.
"""

import shutil
from pathlib import Path

from itda_core.common.disk_errors import writing
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_changed, place_folder, read_json, sha256_of
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.common.parts import part_beside
from itda_core.interop.formats.manifest import read_folder
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest, is_id
from itda_core.library.staging import part_of, place_finished
from itda_core.queries.atoms import Index

FILES = (ATOMS_FILE, INDEX_FILE)
"""Files of a complete dictionary, besides its manifest."""


def read_manifest(path: Path) -> DictionaryManifest:
    """Read an untrusted manifest whose id is valid as a folder name.

    Raises DamagedError.
    """
    manifest = read_json(path)
    dictionary_id = manifest.get("id") if isinstance(manifest, dict) else None
    if not isinstance(dictionary_id, str) or not is_id(dictionary_id):
        raise DamagedError(f"{path.name} names {str(dictionary_id)[:80]!r}, which is no id of a dictionary")
    return DictionaryManifest.parse(dictionary_id, manifest)


def check_hash(record: DictionaryManifest, path: Path) -> None:
    """Raise DamagedError if a file does not match its hash in the manifest."""
    if record.files.get(path.name) != sha256_of(path):
        raise DamagedError(f"{path.name} is not the file that the manifest of {record.id} names: it is refused")


def adopt(library: Library, folder: Path) -> str:
    """Copy a dictionary's folder into a library and return its id.

    Nothing is copied if the library already has the complete dictionary.

    Raises:
        DamagedError: a file is missing, does not match its hash in the manifest, or cannot be read.
        UserError: it holds no atoms, or the library has something else of this id.
    """
    record = read_manifest(folder / MANIFEST_FILE)
    for name in FILES:
        if not (folder / name).is_file():
            raise DamagedError(f"{name} of {record.id} is missing")
        check_hash(record, folder / name)
    atoms = read_folder(folder).atoms
    if atoms.shape != (record.n_atoms, record.d_model):
        raise DamagedError(f"{ATOMS_FILE} of {record.id} holds {list(atoms.shape)} where its manifest names others")
    index = Index(folder / INDEX_FILE)
    try:
        index.check()
    finally:
        index.close()
    if index.n_atoms != record.n_atoms:
        raise DamagedError(f"{INDEX_FILE} of {record.id} has {index.n_atoms} atoms where {record.n_atoms} are named")
    if is_changed(read_json(folder / MANIFEST_FILE)):
        raise DamagedError(f"{MANIFEST_FILE} of {record.id} is not as it was written: it is refused")
    with build_lock(library.root, record.id):
        place_finished(library, record.id)
        if not _is_here(library, record):
            with writing(library.dictionaries):
                _copy(record, folder, library.dictionaries / record.id)
    return record.id


def _is_here(library: Library, record: DictionaryManifest) -> bool:
    """Return whether a library has a dictionary.

    Raises UserError if the library has something else of that id, which is left unchanged.
    """
    if record.id in library.ids():
        if problems := list(library.verify(record.id)):
            raise UserError(
                f"{record.id} is in this library and damaged ({problems[0]}): delete its folder, then bring it again"
            )
        if library.record(record.id).files[ATOMS_FILE] != record.files[ATOMS_FILE]:
            raise UserError(f"this library has another dictionary {record.id}: bring it into another --library")
        return True
    if part_of(library, record.id).exists():
        raise UserError(
            f"{record.id} is half built in this library: build it to its end, or delete dictionaries/"
            f"{part_of(library, record.id).name}, then bring it again"
        )
    return False


def _copy(record: DictionaryManifest, folder: Path, to: Path) -> None:
    """Copy a dictionary's files into place atomically.

    The copies are checked against the record again.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with part_beside(to, Path.mkdir) as part:
        for name in FILES:
            shutil.copyfile(folder / name, part / name)
            check_hash(record, part / name)
        shutil.copyfile(folder / MANIFEST_FILE, part / MANIFEST_FILE)
        if read_manifest(part / MANIFEST_FILE) != record:
            raise DamagedError(f"{MANIFEST_FILE} of {record.id} was changed while it was read")
        place_folder(part, to)
