"""Temporary files beside their targets, locked while their creator lives.

Other processes remove those that a killed process left behind.
"""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

_PART = re.compile(r"\.(.+)\.[0-9a-f]{32}")
_NEVER_WAIT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def part_beside(path: Path, make: Callable[[Path], object] = Path.touch) -> Iterator[Path]:
    """Yield a new locked file beside `path`, removed at the end unless it was renamed.

    With `make=Path.mkdir` it is a folder.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}")
    descriptor = _made_and_held(part, make)
    try:
        yield part
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        os.close(descriptor)


def clear_parts(folder: Path, name: str | None = None) -> None:
    """Remove unlocked temporary files of a folder, left by killed processes.

    Args:
        folder: the folder; one that does not exist or may not be read is skipped.
        name: name of the target whose temporary files are removed; all targets by default.
    """
    for path in _inside(folder):
        match = _PART.fullmatch(path.name)
        if match is not None and name in (None, match[1]):
            _remove_unless_held(path)


def clear_library(root: Path) -> None:
    """Remove the temporary files of killed processes everywhere in a library."""
    for kind in _folders(root):
        clear_parts(kind)
        for folder in _folders(kind):
            clear_parts(folder)


def _made_and_held(part: Path, make: Callable[[Path], object]) -> int:
    """Create a temporary file and lock it.

    It is created again if another process removed it before it was locked.
    """
    while True:
        make(part)
        try:
            descriptor = os.open(part, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if part.exists():
            return descriptor
        os.close(descriptor)


def _remove_unless_held(path: Path) -> None:
    try:
        descriptor = os.open(path, _NEVER_WAIT)
    except OSError:  # removed meanwhile, owned by another user, or a symbolic link
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:  # locked, or in a read-only folder: it stays
        return
    finally:
        os.close(descriptor)


def _folders(folder: Path) -> list[Path]:
    """List the subfolders of a folder, except symbolic links, which are untrusted."""
    return [path for path in _inside(folder) if not path.is_symlink() and path.is_dir()]


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
