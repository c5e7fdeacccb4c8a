"""Read UTF-8 text files, plain or compressed, of any size; reject other formats."""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from itda_core.common.errors import UserError

LONGEST = 2**26
"""Maximum characters in memory at once: of a document, a line, a record or a .json file."""
PACKED_SUFFIXES = (".gz", ".gzip", ".bz2", ".bzip2", ".zst", ".zstd")
"""Suffixes of compressed files. Decompression depends on the first bytes, not on the name."""

_CHUNK = 2**20
_PACKED = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # the second alternative is a skippable frame
}
_NO_TEXT = {
    b"%PDF-": "is a PDF: save its text as a .txt file",
    b"PK\x03\x04": "is a ZIP archive, as .docx, .xlsx, .odt and .epub files are: save its text, or unpack it",
    b"\xd0\xcf\x11\xe0": "is a document of an office program: save it as plain text",
    b"{\\rtf": "is a Rich Text document: save it as plain text",
    b"7z\xbc\xaf": "is a 7-Zip archive: unpack it first",
    b"\xfd7zXZ": "is compressed with xz: unpack it, or use gzip, bz2 or zst",
    b"PAR1": "is a Parquet file: give it a name that ends in .parquet",
    b"ARROW1\0": "is an Arrow file: save it as a .parquet file",
    b"SQLite format 3\0": "is a SQLite database: save a table of it as a .csv file",
    b"version https://git-lfs.github.com/spec/": "is only a pointer of Git LFS: fetch the file with git lfs pull",
    b"\xff\xfe\0\0": "is UTF-32: save it as UTF-8",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}
_WIDE = re.compile(rb"(?:[\x01-\x7f]\0){2}|(?:\0[\x01-\x7f]){2}")  # UTF-16 without a byte order mark
_TAR_AT, _TAR = 257, b"ustar"


@contextmanager
def open_text(path: Path, newline: str = "\n") -> Iterator[io.TextIOWrapper]:
    """Open a text file, decompressed if necessary, without its byte order mark.

    Args:
        path: the file.
        newline: as in `io.TextIOWrapper`; line ends are not changed by default.

    Raises:
        UserError: now or while it is read; it cannot be read, or is not text in UTF-8.
    """
    try:
        with _unpacked(path) as file:
            yield io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{str(path)!r} is not UTF-8 at byte {_bad_byte(path)}: save it as UTF-8, or name a text file"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def lines(path: Path, remedy: str) -> Iterator[str]:
    """Yield the lines of a text file with their line feeds.

    Raises UserError, see `open_text`; `remedy` is the advice for a line that is too long.
    """
    with open_text(path) as file:
        while line := file.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise too_long(f"a line of {str(path)!r}", remedy)
            yield line


def chunks(path: Path) -> Iterator[str]:
    """Yield a plain text in pieces of about a million characters.

    Raises UserError, see `open_text`, also for NUL bytes.
    """
    with open_text(path) as file:
        while text := file.read(_CHUNK):
            yield _without_nul(text, path)


def whole_text(path: Path, remedy: str) -> str:
    """Return the complete plain text.

    Raises UserError, see `open_text`; `remedy` is the advice for a text that is too long.
    """
    with open_text(path) as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise too_long(repr(str(path)), remedy)
    return _without_nul(text, path)


def check_text(path: Path) -> None:
    """Check the first bytes of a file.

    Raises UserError if it cannot be read, or is known not to be text.
    """
    with open_text(path):
        pass


def size_up_to(path: Path, most: int) -> int:
    """Return the bytes of a text file's first `most` characters.

    Raises UserError, see `open_text`.
    """
    with open_text(path) as file:
        return len(file.read(most).encode())


def unreadable(path: Path, error: OSError) -> UserError:
    """Return the error that explains why a file cannot be read."""
    return UserError(f"{str(path)!r} cannot be read: {error.strerror or error}")


def too_long(subject: str, remedy: str) -> UserError:
    """Return the error for text longer than `LONGEST`."""
    return UserError(f"{subject} is longer than {LONGEST:,} characters: {remedy}")


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading bytes, decompressed on the fly.

    Raises UserError if its first bytes are those of a known format other than text.
    """
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        codec = _codec(file.peek())
        if codec is not None:
            import pyarrow as pa  # slow to import

            file = stack.enter_context(io.BufferedReader(pa.CompressedInputStream(file, codec), _CHUNK))
        if (problem := _other_format(file.peek())) is not None:
            raise UserError(f"{str(path)!r} {problem}")
        yield file


def _codec(start: bytes) -> str | None:
    return next((name for name, first in _PACKED.items() if first.match(start)), None)


def _other_format(start: bytes) -> str | None:
    """Return the problem of a file that is not text by its first bytes, with a remedy; None for text."""
    if _codec(start) is not None:
        return "is compressed twice: unpack it once"
    if _WIDE.match(start):
        return "is UTF-16: save it as UTF-8"
    if start[_TAR_AT:].startswith(_TAR):
        return "is a tar archive: unpack it, and name the folder or a file"
    return next((problem for first, problem in _NO_TEXT.items() if start.startswith(first)), None)


def _bad_byte(path: Path) -> int:
    """Return the offset of the first byte that is not UTF-8, after decompression."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = 0
    with _unpacked(path) as file:
        while True:
            raw = file.read(_CHUNK)
            pending = len(decoder.getstate()[0])  # bytes of a character that continues in this piece
            try:
                decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                return before - pending + error.start
            before += len(raw)


def _without_nul(text: str, path: Path) -> str:
    if "\0" in text:
        raise UserError(
            f"{str(path)!r} is not text, it holds NUL bytes: name a text file, or one of .jsonl, .json, .csv, .tsv, "
            ".parquet"
        )
    return text
