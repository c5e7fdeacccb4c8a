"""Small jobs on files that every part of the library needs: hashes, JSON, and names that are safe as a path."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from itda_core.types import DamagedError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex characters. Raises OSError when the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, beside `path`; what is there at the end takes its place, and nothing of it after an error."""
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all: a reader sees the old file or the new one, never a part.

    Raises:
        TypeError, ValueError: the value has no JSON form; NaN and infinity have none.
        OSError: the file cannot be written.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file that may come from a stranger; what it returns can always be written again.

    Raises:
        DamagedError: the file is missing, or not valid JSON in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        # JSON can spell a lone surrogate as an escape; it would only fail later, wherever it is shown or stored.
        json.dumps(value, ensure_ascii=False).encode()
    except OSError as error:
        raise DamagedError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise DamagedError(f"{str(path)!r} is not valid JSON: {error}") from error
    return value


def slug(text: str, limit: int = 40) -> str:
    """A readable name for a path or a URL: lowercase a-z, 0-9 and hyphens, at most `limit` characters, never empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:limit].strip("-") or "unnamed"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)
