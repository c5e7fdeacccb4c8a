"""Stored corpora: documents ingested once into a library.

Sources stay readable whatever happens to the files or the dataset that the documents came from.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_changed, is_file, place_folder, read_json, sha256_of, slug, write_sealed
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.parts import part_beside
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.common.validate import MOST, check_format, damaged, parse
from itda_core.corpus.readers import read_documents

DOCUMENTS_FILE = "documents.parquet"
FORMAT_VERSION = 1
GROUP_DOCUMENTS = 1_000
"""Documents in a row group, the unit of reading and writing."""
GROUP_CHARACTERS = 16_000_000
"""Characters after which a row group ends early, so that memory stays bounded with long texts."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Corpus:
    """A corpus in a library: a folder with the documents and a manifest."""

    id: str
    """Readable slug of the corpus's origin, and a hash of the texts, their order, and the window settings."""
    folder: Path
    """Folder of the corpus; its name is the id."""
    n_documents: int
    """Number of documents, empty ones included."""
    n_characters: int
    """Total number of characters."""
    settings: CorpusSettings
    """Settings by which it was read."""
    cut: WindowSettings
    """Settings by which its documents are cut into windows."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a corpus that `ingest` stored.

        The documents are not read: `documents` and `verify` do that.

        Raises:
            DamagedError: the folder is not a corpus, or a part of it is missing or invalid.
            NewerError: a newer version wrote it.
        """
        manifest = _read_manifest(folder, read_json(folder / MANIFEST_FILE))
        if not is_file(folder / DOCUMENTS_FILE):
            raise DamagedError(f"corpus {folder.name!r} has no {DOCUMENTS_FILE}: {_MEND}")
        return cls(
            id=manifest.id,
            folder=folder,
            n_documents=manifest.documents,
            n_characters=manifest.characters,
            settings=manifest.settings,
            cut=manifest.cut,
        )

    def documents(self, start: int = 0) -> Iterator[Document]:
        """Yield the documents in order, from ordinal `start` on.

        One row group is in memory at a time.

        Raises:
            ValueError: start is negative.
            DamagedError: while iterating; the documents cannot be read.
        """
        if start < 0:
            raise ValueError(f"start is {start}: documents count from 0")
        return self._documents(start)

    def _documents(self, start: int) -> Iterator[Document]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.folder / DOCUMENTS_FILE) as file:
                if not file.schema_arrow.equals(_schema()):
                    raise DamagedError(f"{DOCUMENTS_FILE} of corpus {self.id} has other columns: {_MEND}")
                first = 0
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if first + rows > start:
                        names, texts = (column.to_pylist() for column in file.read_row_group(group).columns)
                        yield from islice(map(Document, names, texts), max(0, start - first), None)
                    first += rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DamagedError(f"{DOCUMENTS_FILE} of corpus {self.id} cannot be read ({error}): {_MEND}") from error

    def verify(self) -> Iterator[str]:
        """Verify all files of the corpus; yield one line per problem."""
        try:
            raw = read_json(self.folder / MANIFEST_FILE)
            expected = _read_manifest(self.folder, raw).files[DOCUMENTS_FILE]
            actual = sha256_of(self.folder / DOCUMENTS_FILE)
        except UserError as error:
            yield str(error)
            return
        except OSError as error:
            yield f"{DOCUMENTS_FILE} of corpus {self.id} cannot be read: {error.strerror or error}"
            return
        if is_changed(raw):
            yield f"{MANIFEST_FILE} of corpus {self.id} is not as it was written"
        if actual != expected:
            yield f"{DOCUMENTS_FILE} of corpus {self.id} is not as it was written: its SHA-256 differs"
            return
        # The id also detects a manifest that was changed together with its file.
        tally = _Tally(self.cut)
        try:
            for document in self.documents():
                tally.add(document)
        except DamagedError as error:
            yield str(error)
            return
        if (tally.documents, tally.characters) != (self.n_documents, self.n_characters):
            yield f"corpus {self.id} has another number of documents or characters than its manifest states"
        if tally.hash() != self.id[-12:]:
            yield f"corpus {self.id} has other texts than those that its id stands for"


def ingest(
    settings: CorpusSettings, cut: WindowSettings, root: Path, progress: Callable[[int], None] | None = None
) -> Corpus:
    """Read a corpus and store it as `root/<id>`, or reuse that folder if it exists.

    The folder is written beside its target and renamed when complete, so several processes may ingest the same corpus
    at once, and what a crash leaves behind (a folder whose name starts with a dot) is not taken for a corpus.

    Args:
        settings: the corpus.
        cut: window settings; part of the id. Plain text is cut into passages by its windows.
        root: the library's folder of corpora, created if missing.
        progress: called with the number of documents read so far, after each row group.

    Raises:
        UserError: the corpus cannot be read; DamagedError if it exists already and is invalid.
        OSError: the library cannot be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    with part_beside(root / "ingest", Path.mkdir) as part:
        tally = _Tally(cut)
        _write_documents(part / DOCUMENTS_FILE, tally.each(read_documents(settings, cut.context)), progress)
        corpus_id = f"{_spec_slug(settings.spec)}-{tally.hash()}"
        manifest = {
            "format": FORMAT_VERSION,
            "id": corpus_id,
            "settings": asdict(settings),
            "cut": asdict(cut),
            "documents": tally.documents,
            "characters": tally.characters,
            "files": {DOCUMENTS_FILE: sha256_of(part / DOCUMENTS_FILE)},
        }
        write_sealed(part / MANIFEST_FILE, manifest)
        folder = root / corpus_id
        try:
            place_folder(part, folder)
        except OSError:
            if not folder.is_dir():
                raise  # otherwise the corpus exists already, or another process was faster
    return Corpus.open(folder)


class _Tally:
    """Running counts and hash of documents.

    Names are not hashed: the same texts are the same corpus.
    """

    def __init__(self, cut: WindowSettings) -> None:
        self.documents = 0
        self.characters = 0
        self._digest = hashlib.sha256(json.dumps([cut.context, cut.windows, cut.keep_first]).encode())

    def add(self, document: Document) -> None:
        raw = document.text.encode()
        self.documents += 1
        self.characters += len(document.text)
        # Each text is preceded by its length, so that ["ab", ""] and ["a", "b"] differ.
        self._digest.update(len(raw).to_bytes(8, "big") + raw)

    def each(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            self.add(document)
            yield document

    def hash(self) -> str:
        return self._digest.hexdigest()[:12]


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.string(), nullable=False) for name in Document._fields])


def _write_documents(path: Path, documents: Iterator[Document], progress: Callable[[int], None] | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    written = 0
    # Texts rarely repeat, so a Parquet dictionary encoding would only cost memory.
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        while group := list(_group(documents)):
            writer.write_table(pa.table(list(zip(*group, strict=True)), schema=schema))
            written += len(group)
            if progress is not None:
                progress(written)


def _group(documents: Iterator[Document]) -> Iterator[Document]:
    """Yield the documents of the next row group."""
    characters = 0
    for document in islice(documents, GROUP_DOCUMENTS):
        yield document
        characters += len(document.text)
        if characters >= GROUP_CHARACTERS:
            return


def _spec_slug(spec: str) -> str:
    """Convert a spec to a slug: `docs` → docs, `owner/pile-10k` → pile-10k.

    `../texts/notes.txt` → notes-txt.
    """
    path = Path(spec)
    return slug(path.resolve().name if path.name in ("", "..") else path.name)


_MEND = "delete the folder and ingest the corpus again"


@dataclass(frozen=True)
class _Manifest:
    """Parsed manifest of a corpus."""

    id: str
    settings: CorpusSettings
    cut: WindowSettings
    documents: Annotated[int, Field(gt=0, le=MOST)]
    characters: Annotated[int, Field(gt=0, le=MOST)]
    files: dict[str, str]


def _read_manifest(folder: Path, raw: Any) -> _Manifest:
    """Parse the manifest of a corpus.

    Raises DamagedError, or NewerError.
    """
    name = folder.resolve().name
    subject = f"{MANIFEST_FILE} of corpus {name!r}"
    if isinstance(raw, dict):
        check_format(raw.get("format"), FORMAT_VERSION, subject, _MEND)
    manifest = parse(_Manifest, raw, subject, _MEND)
    if not _ID.fullmatch(name) or manifest.id != name:
        raise damaged(subject, "it has another id than its folder", _MEND)
    if DOCUMENTS_FILE not in manifest.files:
        raise damaged(subject, f"it has no SHA-256 of {DOCUMENTS_FILE}", _MEND)
    return manifest
