"""Locks of builds and jobs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from itda_core.common.disk_errors import translated_disk_errors
from itda_core.common.errors import UserError
from itda_core.common.layout import JOBS


@contextmanager
def build_lock(root: Path, dictionary_id: str) -> Iterator[None]:
    """Hold the lock of one dictionary id.

    Raises UserError immediately if another process builds the same dictionary.
    """
    locks = root / JOBS / ".locks"
    lock = FileLock(locks / f"{dictionary_id}.lock")
    try:
        with translated_disk_errors(root):
            locks.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{dictionary_id} is being built by another process: wait for it to finish") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock.

    Readers use a shared lock, so that they do not mistake each other for the holder. Raises OSError if the lock file
    cannot be opened.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(file)
    return False
