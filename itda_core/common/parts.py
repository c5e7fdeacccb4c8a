"""What is being made beside its place: held for as long as its maker lives, and cleared away by others after that."""

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
    """A new file beside `path`, or a folder with `make=Path.mkdir`, that is gone at the end unless it was renamed."""
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
    """Remove parts that nobody holds: what a process was making in a folder when it was killed.

    Args:
        folder: which; one that is not there, or may not be read, has nothing to be cleared.
        name: of what the parts are; of anything unless given.
    """
    for path in _inside(folder):
        match = _PART.fullmatch(path.name)
        if match is not None and name in (None, match[1]):
            _remove_unless_held(path)


def clear_library(root: Path) -> None:
    """Remove what killed processes were making anywhere in a library."""
    for kind in _folders(root):
        clear_parts(kind)
        for folder in _folders(kind):
            clear_parts(folder)


def _made_and_held(part: Path, make: Callable[[Path], object]) -> int:
    """Make a part and hold it; one that was cleared away between the two is made again."""
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
    except OSError:  # gone at this moment, another user's, or a link
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:  # held, or in a folder that may only be read: it stays
        return
    finally:
        os.close(descriptor)


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, without those that are links: a stranger's may lead anywhere."""
    return [path for path in _inside(folder) if not path.is_symlink() and path.is_dir()]


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
