"""File helpers: atomic writes, SHA-256, JSON, slugs."""

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from itda_core.common.errors import DamagedError
from itda_core.common.parts import part_beside

DIGEST = "digest"
"""Key under which `write_sealed` stores the SHA-256 of the rest of the object."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal characters.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it atomically at the end.

    After an error the temporary file is removed and `path` is unchanged.
    """
    with part_beside(path) as part:
        mode = part.stat().st_mode
        yield part
        _settle(part, mode)
        part.replace(path)


def place_folder(part: Path, folder: Path) -> None:
    """Sync the contents of a folder to disk and rename it into place.

    Raises OSError if the target exists already or cannot be written.
    """
    with part_beside(part / "mode") as probe:
        mode = probe.stat().st_mode
    for path in part.rglob("*"):
        if path.is_file() and not path.is_symlink():
            _settle(path, mode)
    part.rename(folder)


def _settle(path: Path, mode: int) -> None:
    """Set a file's mode to the default for new files and sync it to disk.

    Some writers create files with a mode of their own.
    """
    if path.stat().st_mode != mode:
        path.chmod(mode)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically: a reader sees the old file or the new one.

    Raises:
        TypeError, ValueError: the value has no JSON form; NaN and infinity have none.
        OSError: the file cannot be written.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write an object as `write_json` does, with its digest.

    `is_changed` detects later changes by the digest.
    """
    write_json(path, sealed(value))


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object extended by the digest of its content."""
    return value | {DIGEST: _digest_of(value)}


def is_changed(value: Any) -> bool:
    """Return whether an object differs from what was written, according to its digest.

    False for objects without a digest, as in older files: changes in them cannot be detected.
    """
    if not isinstance(value, dict):
        return False
    if DIGEST in value:
        return value[DIGEST] != _digest_of(value)
    # If the digest's key was renamed, one of the values is still the digest.
    return any(isinstance(each, str) and each == _digest_of(value, name) for name, each in value.items())


def _digest_of(value: dict[str, Any], own: str = DIGEST) -> str:
    rest = {name: each for name, each in value.items() if name != own}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_hash(path: Path) -> None:
    """Store the SHA-256 of a file beside it as `NAME.sha256`, in the sha256sum format.

    Raises OSError.
    """
    with written_whole(_hash_path(path)) as part:
        part.write_text(f"{sha256_of(path)}  {path.name}\n", encoding="utf-8")


def has_other_hash(path: Path) -> bool:
    """Return whether a file differs from the hash that is stored beside it.

    False if no hash is stored. Raises OSError.
    """
    kept = _hash_path(path)
    return kept.is_file() and kept.read_bytes() != f"{sha256_of(path)}  {path.name}\n".encode()


def _hash_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def problem_of_file(path: Path, digest: str, written: str = "written") -> str | None:
    """Describe in one line how a file differs from its known hash; None if it matches."""
    try:
        if not path.is_file():
            return f"{path.name} is missing"
        return None if sha256_of(path) == digest else f"{path.name} is not the file that was {written}"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"


def is_file(path: Path) -> bool:
    """Return whether a path is a file.

    Raises DamagedError if this cannot be determined, as in another user's folder.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DamagedError:
    """Return the error for an unreadable file or folder of a library, with its cause."""
    reason = error.strerror or error
    remedy = ": let this user read it" if isinstance(error, PermissionError) else ""
    return DamagedError(f"{str(path)!r} cannot be read: {reason}{remedy}")


def read_json(path: Path) -> Any:
    """Read a possibly untrusted JSON file; the result can always be written again.

    Raises:
        DamagedError: the file is missing, or not valid JSON in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        # JSON can encode a lone surrogate as an escape; it would only fail later, when it is shown or stored.
        json.dumps(value, ensure_ascii=False).encode()
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise DamagedError(f"{str(path)!r} is not valid JSON: {error}") from error
    return value


def slug(text: str, limit: int = 40) -> str:
    """Convert text to a readable name for a path or a URL.

    Lowercase a-z, 0-9 and hyphens, at most `limit` characters, never empty.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:limit].strip("-") or "unnamed"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def short_hash(text: str) -> str:
    """Hash a text to ten hexadecimal digits for a folder name."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
