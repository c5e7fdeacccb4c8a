"""Locks of builds and jobs."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from itda_core.common.disk_errors import telling
from itda_core.common.errors import UserError
from itda_core.common.layout import JOBS
from itda_core.jobs.state import STATE_FILE

_SILENT = 600  # seconds
_ASKED = 4  # how often a lock is tried before it counts as the job's


@contextmanager
def build_lock(root: Path, dictionary_id: str) -> Iterator[None]:
    """Hold the lock of one dictionary id. Raises UserError at once when another process builds the same."""
    locks = root / JOBS / ".locks"
    lock = FileLock(locks / f"{dictionary_id}.lock")
    try:
        with telling(root):
            locks.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{dictionary_id} is being built by another process: wait for it to finish") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path, asked: int = _ASKED) -> bool:
    """Whether a process holds the lock: the job, or for a moment another reader that asks the same."""
    for _ in range(asked):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            time.sleep(random.uniform(0.002, 0.01))
            continue
        except OSError:  # a library that may only be read: all there is to go by is when the job last wrote
            return time.time() - (path.parent / STATE_FILE).stat().st_mtime < _SILENT
        lock.release()
        return False
    return True
