"""A library: the folder of corpora, dictionaries, reports and jobs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_changed, is_file, problem_of_file, read_json, unreadable
from itda_core.common.layout import (
    ACTIVATIONS,
    ATOMS_FILE,
    COMPARISONS,
    CORPORA,
    DICTIONARIES,
    INDEX_FILE,
    JOBS,
    MANIFEST_FILE,
    MAP_FILE,
    SAES,
)
from itda_core.library.manifest import ID, DictionaryManifest, InvalidDictionary, is_id


@dataclass(frozen=True)
class Library:
    """A folder of corpora, dictionaries and jobs; it need not exist yet."""

    root: Path
    """The folder."""

    @property
    def corpora(self) -> Path:
        """Folder of the corpora."""
        return self.root / CORPORA

    @property
    def dictionaries(self) -> Path:
        """Folder of the dictionaries."""
        return self.root / DICTIONARIES

    @property
    def jobs(self) -> Path:
        """Folder of the jobs."""
        return self.root / JOBS

    @property
    def activations(self) -> Path:
        """Folder of the stored activations."""
        return self.root / ACTIVATIONS

    @property
    def comparisons(self) -> Path:
        """Folder of the comparisons of two dictionaries."""
        return self.root / COMPARISONS

    @property
    def saes(self) -> Path:
        """Folder of the sparse autoencoders that dictionaries are compared with."""
        return self.root / SAES

    def ids(self) -> list[str]:
        """List the ids of the dictionaries in alphabetical order, damaged ones included."""
        try:
            if self.root.exists() and not self.root.is_dir():
                raise UserError(f"{self.root} is not a folder: name a library's folder")
            paths = list(self.dictionaries.iterdir()) if self.dictionaries.is_dir() else []
            return sorted(path.name for path in paths if path.is_dir() and ID.fullmatch(path.name))
        except OSError as error:
            raise unreadable(self.dictionaries, error) from error

    def folder(self, dictionary_id: str) -> Path:
        """Return the folder of a dictionary.

        Raises UserError for an unknown id; the message lists the known ones.
        """
        if not ID.fullmatch(dictionary_id) or not (self.dictionaries / dictionary_id).is_dir():
            raise UserError(f"there is no dictionary {dictionary_id[:200]!r} in this library: {self._known()}")
        return self.dictionaries / dictionary_id

    def record(self, dictionary_id: str) -> DictionaryManifest:
        """Read and validate a dictionary's manifest.

        Raises UserError for an unknown id, DamagedError for a damaged dictionary.
        """
        folder = self.folder(dictionary_id)
        record = DictionaryManifest.parse(dictionary_id, read_json(folder / MANIFEST_FILE))
        for name in (ATOMS_FILE, INDEX_FILE):
            if name not in record.files or not is_file(folder / name):
                raise DamagedError(f"{name} of dictionary {dictionary_id} is missing: build the dictionary again")
        return record

    def records(self) -> list[DictionaryManifest | InvalidDictionary]:
        """Read all manifests, sorted by model, layer and hook; damaged ones last."""
        sound: list[DictionaryManifest] = []
        damaged: list[InvalidDictionary] = []
        for dictionary_id in self.ids():
            try:
                sound.append(self.record(dictionary_id))
            except UserError as error:
                if (self.dictionaries / dictionary_id).is_dir():  # otherwise it was replaced meanwhile
                    damaged.append(InvalidDictionary.of(dictionary_id, error))
        sound.sort(key=lambda record: (record.model, record.site, record.id))
        return [*sound, *damaged]

    def index_path(self, dictionary_id: str) -> Path:
        """Return the path of a dictionary's index."""
        return self.folder(dictionary_id) / INDEX_FILE

    def map_path(self, dictionary_id: str) -> Path:
        """Return the path of a dictionary's map.

        The map is written after the dictionary and may not exist yet.
        """
        return self.folder(dictionary_id) / MAP_FILE

    def corpus_folder(self, record: DictionaryManifest) -> Path:
        """Return the folder of the corpus that a dictionary was built from.

        Raises DamagedError if the manifest names an invalid corpus id.
        """
        if not is_id(record.corpus):
            raise DamagedError(
                f"{record.id} names the corpus {record.corpus[:80]!r}, which no library has by that name"
            )
        return self.corpora / record.corpus

    def verify(self, dictionary_id: str) -> Iterator[str]:
        """Verify a dictionary's files against their recorded hashes.

        Yields a line for each file that is missing or changed since it was built. Raises NewerError if a newer version
        wrote the dictionary: it cannot be verified.
        """
        folder = self.folder(dictionary_id)
        try:
            manifest = read_json(folder / MANIFEST_FILE)
            record = DictionaryManifest.parse(dictionary_id, manifest)
        except DamagedError as error:
            yield str(error)
            return
        for name in sorted({ATOMS_FILE, INDEX_FILE, *record.files}):
            if name not in record.files:
                yield f"{name} has no hash in the manifest"
            elif problem := problem_of_file(folder / name, record.files[name], "built"):
                yield problem
        if is_changed(manifest):
            yield f"{MANIFEST_FILE} is not as it was written"

    def _known(self) -> str:
        ids = self.ids()
        if not ids:
            return "it is empty; build one with itda demo"
        shown = ", ".join(ids[:10])
        return f"there is {shown}" + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
