"""Read a column of texts as documents: JSON Lines, JSON, CSV, TSV and Parquet.

Any error that the user can fix is a one-line UserError that names the place.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from itda_core.common.errors import UserError
from itda_core.common.types import Document
from itda_core.corpus.text_files import LONGEST, lines, open_text, too_long, whole_text

_BATCH_ROWS = 1_000
_SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*')  # Excel's line that names the delimiter
_ONE_A_LINE = "write one object a line, each with a text, as a .jsonl file"
_SHOWN_NAMES, _SHOWN_CHARACTERS = 20, 80  # limits on the column names listed in an error


def checked(value: Any, column: str, where: str) -> str:
    """Return the value of a column as storable text.

    Raises UserError if it is not.
    """
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


def check_column(column: str, columns: Iterable[str], where: str) -> None:
    """Check that the text column occurs exactly once among the columns.

    Raises UserError.
    """
    names = list(columns)
    if (times := names.count(column)) > 1:
        counted = "twice" if times == 2 else f"{times} times"
        raise UserError(f"{where} has the column {column!r} {counted}: rename all but one of them")
    if not times:
        shown = ", ".join(repr(name[:_SHOWN_CHARACTERS]) for name in names[:_SHOWN_NAMES])
        more = ", …" if len(names) > _SHOWN_NAMES else ""
        raise UserError(f"{where} has no column {column!r}: name one of {shown or 'its columns (it has none)'}{more}")


def _read_lines(path: Path, column: str) -> Iterator[Document]:
    """Read JSON Lines: one object or text per line; blank lines are skipped."""
    for number, line in enumerate(lines(path, _ONE_A_LINE), start=1):
        where = f"line {number} of {str(path)!r}"
        if line.strip():
            record = _parsed(line, where, "each line must be one JSON object")
            yield Document(f"line {number}", _text_of(record, column, where))


def _read_json(path: Path, column: str) -> Iterator[Document]:
    """Read an array of objects or texts, alone or within an object, an object of columns, or JSON Lines.

    JSON Lines files often have the suffix .json.
    """
    head = list(islice(filter(str.strip, lines(path, _ONE_A_LINE)), 2))
    if not head or _is_record(head[0], column, is_alone=len(head) == 1):
        yield from _read_lines(path, column)
        return
    value = _parsed(whole_text(path, _ONE_A_LINE), repr(str(path)), "write it as an array of texts")
    if isinstance(value, dict):
        value = _rows_in(value, column) or value
    if isinstance(value, dict):
        check_column(column, value, repr(str(path)))
        texts = value[column]
        # Keyed by row, as pandas writes a table, or a list.
        value = [*texts.values()] if isinstance(texts, dict) else texts if isinstance(texts, list) else [texts]
        text_of = checked
    elif isinstance(value, list):
        text_of = _text_of
    else:
        raise UserError(f"{str(path)!r} holds neither an array nor an object: write it as an array of texts")
    for row, each in enumerate(value):
        yield Document(f"row {row}", text_of(each, column, f"row {row} of {str(path)!r}"))


def _is_record(line: str, column: str, is_alone: bool) -> bool:
    """Return whether a line is a complete object by itself, not a table of columns or, alone, of records."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False  # it continues in the next line, or is invalid, which is reported when the complete file is parsed
    if not isinstance(record, dict) or isinstance(record.get(column), list | dict):
        return False
    return not (is_alone and _rows_in(record, column))


def _rows_in(table: dict[str, Any], column: str) -> list[Any] | None:
    """Return the one array of records with the column in an object that has no such column itself.

    As under `data` in many files. None if there is none.
    """

    def is_records(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and column in value[0]

    found = [] if column in table else list(filter(is_records, table.values()))
    return found[0] if len(found) == 1 else None


def _parsed(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise UserError(f"{where} is not JSON ({error}): {remedy}") from error


def _text_of(record: Any, column: str, where: str) -> str:
    """Return the text of a record: an object with a text column, or the text itself."""
    if isinstance(record, str):
        return checked(record, column, where)
    if not isinstance(record, dict):
        raise UserError(f"{where} is not a JSON object: write it as {{{json.dumps(column)}: …}}")
    if column not in record:
        check_column(column, record, where)
    return checked(record[column], column, where)


def _read_csv(path: Path, column: str, delimiters: str) -> Iterator[Document]:
    """Read a CSV file with a header.

    The delimiter is the first of `delimiters` with which the header contains the column, or the one that Excel wrote
    into a line before it. Blank lines before the header are skipped.
    """
    csv.field_size_limit(LONGEST)  # process-wide; the default limit is 131,072 characters per field
    start, taken = 1, 0  # of the current record: its first line, and its characters so far

    def bounded() -> Iterator[str]:
        nonlocal taken
        line = first
        while line:
            taken += len(line)
            if taken > LONGEST:
                raise too_long(f"the record from line {start} of {str(path)!r} on", "is a quote in it not closed?")
            yield line
            line = file.readline(LONGEST + 1)

    try:
        with open_text(path, newline="") as file:
            first, before = file.readline(LONGEST), 0
            while first and (not first.strip() or (named := _SEPARATOR.fullmatch(first))):
                delimiters = named[1] if first.strip() else delimiters
                first, before = file.readline(LONGEST), before + 1
            start += before
            fitting = (each for each in delimiters if column in next(csv.reader([first], delimiter=each), ()))
            rows = csv.reader(bounded(), delimiter=next(fitting, delimiters[0]), strict=True)
            header = None
            for row in rows:
                name, where = f"line {start}", f"line {start} of {str(path)!r}"
                start, taken = before + rows.line_num + 1, 0
                if not row:
                    continue  # a blank line
                if header is None:
                    header = row
                    check_column(column, header, where)
                elif len(row) == len(header):
                    yield Document(name, row[header.index(column)])
                else:
                    raise UserError(
                        f"{where} has {len(row)} fields where the header has {len(header)}: put quotes around texts "
                        "with commas, tabs or line ends in them"
                    )
    except csv.Error as error:
        raise UserError(
            f"the record from line {start} of {str(path)!r} on cannot be read ({error}): put quotes around texts, and "
            "write those in them twice"
        ) from error


def _read_parquet(path: Path, column: str) -> Iterator[Document]:
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            check_column(column, file.schema_arrow.names, repr(str(path)))
            for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
                for scalar in batch.column(column):
                    where = f"row {row} of {str(path)!r}"
                    yield Document(f"row {row}", checked(_python_value(scalar, column, where), column, where))
                    row += 1
    except UnicodeDecodeError as error:
        raise UserError(
            f"{str(path)!r} has the name of a column that is not UTF-8: write the file again with other names"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{str(path)!r} is not a Parquet file, or is damaged: {cut_short(error)}") from error


def _python_value(scalar: Any, column: str, where: str) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        raise UserError(f"{where} has bytes in {column!r} that are not UTF-8: write the file again as UTF-8") from error


def cut_short(error: BaseException) -> str:
    """Shorten a library's error message, which may be pages long, to fit in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


TABLES: dict[str, Callable[[Path, str], Iterator[Document]]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_json,
    ".csv": partial(_read_csv, delimiters=",;\t|"),
    ".tsv": partial(_read_csv, delimiters="\t,;|"),
    ".parquet": _read_parquet,
}
"""Readers of the documents of a file, by suffix; each takes the path and the text column."""
