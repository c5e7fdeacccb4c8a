"""Documents of a corpus, read where they lie: installed documentation, files, folders, and datasets of the Hub.

Nothing is dropped and nothing is shuffled, so that a document's ordinal is the same in every reading. Whatever the
user can mend is a UserError of one line. pyarrow and datasets take a while to load, so they load when first needed.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from itda_core.config import CorpusSettings
from itda_core.documentation import read_documentation
from itda_core.types import Document, UserError

HUB_DOCUMENTS = 10_000
"""Documents of a Hub dataset that are read when the settings name no number: most are far larger than a build needs."""
TEXT_SUFFIXES = (".txt", ".md")
"""The files of a folder that are documents."""

_BATCH_ROWS = 1_000
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_FILE_SUFFIXES = (*TEXT_SUFFIXES, ".jsonl", ".parquet")
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def read_documents(settings: CorpusSettings) -> Iterator[Document]:
    """Read a corpus one document at a time, in its own order, empty documents included.

    `docs` is the installed documentation (write `./docs` for a folder of that name). A path that exists is read as
    what it is: a folder gives its .txt and .md files in sorted relative order, a .jsonl file one document a line
    (blank lines are no documents), a .parquet file one a row, any other file is one document. What is no path but has
    the form `owner/name` is streamed from the Hugging Face Hub. JSONL documents are named by line, from 1; rows of
    Parquet files and datasets by their ordinal, from 0.

    Raises:
        UserError: while iterating; the corpus does not exist, cannot be read, holds something that is not text, or
            holds no text at all.
    """
    documents, limit = _open(settings)
    has_text = False
    for document in islice(documents, limit):
        has_text = has_text or bool(document.text.strip())
        yield document
    if not has_text:
        raise UserError(f"{settings.spec!r} holds no text: name a corpus with at least one document that is not empty")


def check_corpus(settings: CorpusSettings) -> None:
    """Refuse a corpus that cannot be there, without reading it. Raises UserError."""
    _open(settings)


def _open(settings: CorpusSettings) -> tuple[Iterator[Document], int | None]:
    """The documents that a corpus's name stands for, and how many of them to read."""
    spec = settings.spec
    if spec == "docs":
        return read_documentation(), settings.documents
    try:
        spec.encode()  # a name that is not UTF-8 could not be kept in a manifest
        path = Path(spec).expanduser()
        path.stat()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the ~ of a user that does not exist
        if _HUB_ID.fullmatch(spec) and not spec.lower().endswith(_FILE_SUFFIXES):
            return _read_hub(settings), settings.documents or HUB_DOCUMENTS
        raise UserError(
            f"{spec!r} cannot be opened and is not a dataset id: name docs, a file or folder that exists, or owner/name"
        ) from error
    if path.is_dir():
        return _read_folder(path), settings.documents
    if not path.is_file():
        raise UserError(f"{spec!r} is neither a file nor a folder: name one that is")
    if path.suffix.lower() == ".jsonl":
        return _read_jsonl(path, settings.column), settings.documents
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, settings.column), settings.documents
    return _read_text(path), settings.documents


def _read_text(path: Path) -> Iterator[Document]:
    yield Document(_shown(path.name), _text_of(path))


def _read_folder(folder: Path) -> Iterator[Document]:
    files = sorted(_text_files(folder))
    if not files:
        raise UserError(f"{str(folder)!r} has no .txt or .md files: name a folder that has, or a file")
    inside = Path(os.path.realpath(folder))
    for name in files:
        path = folder / name
        # realpath, because Path.resolve raises on a link that leads to itself; reading it then says so in our words
        if not Path(os.path.realpath(path)).is_relative_to(inside):
            raise UserError(f"{str(path)!r} is a link that leads outside the folder: put the file itself there")
        yield Document(_shown(name), _text_of(path))


def _text_files(folder: Path) -> Iterator[str]:
    """Relative names of the text files of a folder and of the folders in it; links to folders are not followed."""

    def refuse(error: OSError) -> NoReturn:
        raise _unreadable(Path(error.filename), error) from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        for path in (Path(parent, name) for name in names):
            if path.suffix.lower() in TEXT_SUFFIXES and (path.is_file() or path.is_symlink()):
                yield path.relative_to(folder).as_posix()


def _read_jsonl(path: Path, column: str) -> Iterator[Document]:
    offset = 0
    for number, line in enumerate(_lines(path), start=1):
        where = f"line {number} of {str(path)!r}"
        text = _decoded(line, path, offset)
        offset += len(line)
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
            raise UserError(f"{where} is not JSON ({error}): each line must be one JSON object") from error
        if not isinstance(record, dict):
            raise UserError(f"{where} is not a JSON object: write it as {{{json.dumps(column)}: …}}")
        if column not in record:
            raise UserError(f"{where} {_no_column(column, record)}")
        yield Document(f"line {number}", _checked(record[column], column, where))


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_parquet(path: Path, column: str) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.get_field_index(column) < 0:
                raise UserError(f"{str(path)!r} {_no_column(column, file.schema_arrow.names)}")
            for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
                for scalar in batch.column(column):
                    where = f"row {row} of {str(path)!r}"
                    yield Document(f"row {row}", _checked(_python_value(scalar, column, where), column, where))
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} is not a Parquet file, or is damaged: {_one_line(error)}") from error


def _python_value(scalar: Any, column: str, where: str) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        raise UserError(f"{where} has bytes in {column!r} that are not UTF-8: write the file again as UTF-8") from error


def _read_hub(settings: CorpusSettings) -> Iterator[Document]:
    for row, record in enumerate(_hub_records(settings)):
        where = f"row {row} of dataset {settings.spec!r}"
        if settings.column not in record:
            raise UserError(f"{where} {_no_column(settings.column, record)}")
        yield Document(f"row {row}", _checked(record[settings.column], settings.column, where))


def _hub_records(settings: CorpusSettings) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.utils import httpx

    from itda_core.hub import answer_of_hub

    try:
        stream = load_dataset(
            settings.spec, settings.name, split=settings.split, revision=settings.revision, streaming=True
        )
        # Only the text is wanted: without this, columns of images or sound would be decoded too.
        yield from stream.decode(False)
    except DatasetNotFoundError as error:
        raise UserError(
            f"{settings.spec!r} is no file here and cannot be had from the Hub ({_one_line(error)}): check the id and "
            "the revision; if it is gated or private, accept its terms on its page and set HF_TOKEN"
        ) from error
    except (ConnectionError, httpx.TransportError) as error:
        raise UserError(
            f"the Hub cannot be reached for dataset {settings.spec!r}: check the network, unset HF_HUB_OFFLINE if it "
            "is set, or name a file, such as documents.parquet of a corpus that the library holds"
        ) from error
    except (DatasetsError, httpx.HTTPError, OSError, ValueError, RuntimeError, ImportError) as error:
        raise UserError(
            answer_of_hub(f"dataset {settings.spec!r}", error)
            or f"dataset {settings.spec!r} cannot be read ({_one_line(error)}): check its name, split and files"
        ) from error


def _text_of(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    text = _decoded(raw, path)
    if "\0" in text:
        raise UserError(f"{str(path)!r} is not text, it holds NUL bytes: name a text file, .jsonl or .parquet")
    return text


def _decoded(raw: bytes, path: Path, offset: int = 0) -> str:
    """Bytes at an offset of a file as text, without the byte order mark that some editors write at the start."""
    if offset == 0 and raw.startswith(b"\x1f\x8b"):
        raise UserError(f"{str(path)!r} is compressed with gzip: unpack it first")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{str(path)!r} is not UTF-8 at byte {offset + error.start}: save it as UTF-8, or name a text file"
        ) from error
    return text.removeprefix(_BOM) if offset == 0 else text


def _checked(value: Any, column: str, where: str) -> str:
    """The value of a column as text that can be stored."""
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise UserError(f"{where} has {kind} in {column!r}, not text: mend or remove it, or name another column")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where} has half a surrogate pair (\\u{ord(value[error.start]):04x}) in {column!r}, which is no "
            "character: mend or remove it"
        ) from error
    return value


def _no_column(column: str, columns: Iterable[str]) -> str:
    names = list(columns)
    shown = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
    return f"has no column {column!r}: name one of {shown or 'its columns (it has none)'}"


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{str(path)!r} cannot be read: {error.strerror or error}")


def _one_line(error: BaseException) -> str:
    """A library's message, which may be pages long, cut to what fits in a line of ours."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def _shown(name: str) -> str:
    """A file name as text that can be stored; a name that is not UTF-8 has its odd bytes replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
