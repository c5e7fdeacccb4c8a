"""Read the documents of a corpus: documentation, files, folders, Hub datasets.

Documents are neither dropped nor shuffled, so a document's ordinal is the same in every reading. Any error that the
user can fix is a one-line UserError. `datasets` loads slowly, so it is imported when first needed.
"""

import os
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from itda_core.common.errors import UserError
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.corpus.docstrings import read_documentation
from itda_core.corpus.splitting import passage_bytes, passages, window_bytes
from itda_core.corpus.text_files import PACKED_SUFFIXES, check_text, chunks, size_up_to, unreadable, whole_text
from itda_core.corpus.text_tables import TABLES, check_column, checked, cut_short
from itda_core.corpus.windows import HOLDOUT

HUB_DOCUMENTS = 10_000
"""Documents of a Hub dataset that are read if the settings name no number: most are far larger than a build needs."""
TEXT_SUFFIXES = (".txt", ".md")
"""Suffixes of the files in a folder that are documents."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_FILE_SUFFIXES = (*TEXT_SUFFIXES, *TABLES, *PACKED_SUFFIXES)


def read_documents(settings: CorpusSettings, context: int = WindowSettings.context) -> Iterator[Document]:
    """Read a corpus one document at a time, in its own order.

    Empty documents are included.

    `docs` is the installed documentation (write `./docs` for a folder of that name). An existing path is read according
    to its type. Formats that define documents are split accordingly: a .jsonl or .ndjson file into one per line (blank
    lines are skipped), .json, .csv, .tsv and .parquet files into one per row, a folder of at least ten .txt and .md
    files into one per file, in sorted relative order. Any other file, and a smaller folder, is plain text, of which few
    or no documents would be held out: it is cut into passages of about one window each, or a tenth of the text if it
    has fewer than ten windows, at the ends of paragraphs, lines, sentences or words. They are named `notes.txt, part
    3`; concatenated, they are the text. A text of under 400 bytes is not cut.

    All but .parquet files may be compressed with gzip, bz2 or zst. A spec that is not a path but has the form
    `owner/name` is streamed from the Hugging Face Hub. Documents are named by line, from 1, if they have one; rows of
    .json and .parquet files and of datasets by their ordinal, from 0.

    Args:
        settings: the corpus.
        context: tokens in a window, by which plain text is cut.

    Raises:
        UserError: while iterating; the corpus does not exist, cannot be read, contains something that is not text, or
            contains no text at all.
    """
    documents, limit = _open(settings, context)
    has_text = False
    for document in islice(documents, limit):
        has_text = has_text or bool(document.text.strip())
        yield document
    if not has_text:
        raise UserError(f"{settings.spec!r} holds no text: name a corpus with at least one document that is not empty")


def check_corpus(settings: CorpusSettings) -> None:
    """Reject a corpus that cannot exist or is known not to be text.

    The documents are not read. Raises UserError.
    """
    _open(settings)


def text_bytes(settings: CorpusSettings) -> int | None:
    """Return the size in bytes of a corpus that is one plain-text file, else None.

    None also for a compressed file.
    """
    if settings.spec == "docs":
        return None
    try:
        path = Path(settings.spec).expanduser()
        kind, is_packed = _kind(path)
        return path.stat().st_size if path.is_file() and not is_packed and kind not in TABLES else None
    except (OSError, ValueError, RuntimeError):
        return None


def _open(settings: CorpusSettings, context: int = WindowSettings.context) -> tuple[Iterator[Document], int | None]:
    """Return an iterator over the documents of a corpus, and the number to read."""
    spec = settings.spec
    if spec == "docs":
        return read_documentation(), settings.documents
    try:
        spec.encode()  # a name that is not UTF-8 cannot be stored in a manifest
        path = Path(spec).expanduser()
        path.stat()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~` of a user that does not exist
        if _HUB_ID.fullmatch(spec) and not spec.lower().endswith(_FILE_SUFFIXES):
            return _read_hub(settings), settings.documents or HUB_DOCUMENTS
        raise UserError(
            f"{spec!r} cannot be opened and is not a dataset id: name docs, a file or folder that exists, or owner/name"
        ) from error
    if path.is_dir():
        return _read_folder(path, context), settings.documents
    if not path.is_file():
        raise UserError(f"{spec!r} is neither a file nor a folder: name one that is")
    kind, is_packed = _kind(path)
    if kind == ".parquet":
        if is_packed:
            raise UserError(f"{spec!r} is compressed, which Parquet files are by themselves: unpack it first")
    else:
        check_text(path)
    if kind in TABLES:
        return TABLES[kind](path, settings.column), settings.documents
    return _read_texts([(path.name, path)], context), settings.documents


def _kind(path: Path) -> tuple[str, bool]:
    """Return a file's suffix before that of compression, and whether it is compressed."""
    is_packed = path.suffix.lower() in PACKED_SUFFIXES
    return (path.with_suffix("") if is_packed else path).suffix.lower(), is_packed


def _read_folder(folder: Path, context: int) -> Iterator[Document]:
    names = sorted(_text_files(folder))
    if not names:
        raise UserError(f"{str(folder)!r} has no .txt or .md files: name a folder that has, or a file")
    files = _inside(folder, names)
    if len(names) < HOLDOUT:
        yield from _read_texts(list(files), context)
        return
    for name, path in files:
        remedy = "cut it into several files, or name it alone, and it is cut into passages"
        yield Document(_shown(name), whole_text(path, remedy))


def _inside(folder: Path, names: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files with their names.

    Raises UserError for a link that leads out of the folder.
    """
    inside = Path(os.path.realpath(folder))
    for name in names:
        path = folder / name
        # realpath, because Path.resolve raises on a link to itself; reading that later raises our own error
        if not Path(os.path.realpath(path)).is_relative_to(inside):
            raise UserError(f"{str(path)!r} is a link that leads outside the folder: put the file itself there")
        yield name, path


def _text_files(folder: Path) -> Iterator[str]:
    """Yield the relative names of the text files of a folder and its subfolders.

    Links to folders are not followed.
    """

    def refuse(error: OSError) -> NoReturn:
        raise unreadable(Path(error.filename), error) from error

    for parent, _, names in os.walk(folder, onerror=refuse):
        for path in (Path(parent, name) for name in names):
            if path.suffix.lower() in TEXT_SUFFIXES and (path.is_file() or path.is_symlink()):
                yield path.relative_to(folder).as_posix()


def _read_texts(files: list[tuple[str, Path]], context: int) -> Iterator[Document]:
    """Cut plain texts into passages; a text of one passage is named by its file alone."""
    enough = HOLDOUT * window_bytes(context)
    size = passage_bytes(sum(size_up_to(path, enough) for _, path in files), context)
    for name, path in files:
        shown = _shown(name)
        parts = passages(chunks(path), size)
        first, second = next(parts, ""), next(parts, None)
        if second is None:
            yield Document(shown, first)
            continue
        for number, part in enumerate(chain((first, second), parts), start=1):
            yield Document(f"{shown}, part {number}", part)


def _read_hub(settings: CorpusSettings) -> Iterator[Document]:
    for row, record in enumerate(_hub_records(settings)):
        where = f"row {row} of dataset {settings.spec!r}"
        if settings.column not in record:
            check_column(settings.column, record, where)
        yield Document(f"row {row}", checked(record[settings.column], settings.column, where))


def _hub_records(settings: CorpusSettings) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.utils import httpx

    from itda_core.common.hub_errors import answer_of_hub

    try:
        stream = load_dataset(
            settings.spec, settings.name, split=settings.split, revision=settings.revision, streaming=True
        )
        # Only the text is needed: otherwise columns of images or sound would be decoded too.
        yield from stream.decode(False)
    except DatasetNotFoundError as error:
        raise UserError(
            f"{settings.spec!r} is no file here and cannot be had from the Hub ({cut_short(error)}): check the id and "
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
            or f"dataset {settings.spec!r} cannot be read ({cut_short(error)}): check its name, split and files"
        ) from error


def _shown(name: str) -> str:
    """Convert a file name to storable text; bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")
