"""List a library's jobs, their problems and their logs."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from itda_core.common.errors import DamagedError
from itda_core.common.files import is_changed, read_json, unreadable
from itda_core.common.layout import JOBS
from itda_core.jobs.state import (
    COMMAND_FILE,
    DISMISSED_FILE,
    JOB_ID,
    LOG_FILE,
    STATE_FILE,
    UNREADABLE,
    JobState,
    end_of,
    read_command,
    read_state,
    unreadable_job,
)

_ENDED = ("done", "failed", "cancelled")
_KEPT, _KEPT_FOR = 200, 90 * 86400  # jobs, and seconds
_MOST_CACHED = 10_000
_cached: dict[Path, tuple[tuple, JobState]] = {}


def read_jobs(root: Path) -> list[JobState]:
    """Read all jobs of a library, newest first.

    A job whose process is gone without a recorded end is `lost`. One that cannot be read is `failed`, with the title
    UNREADABLE, and does not prevent the others from being read.
    """
    try:
        folders = _folders(root)
    except OSError as error:
        return [unreadable_job(JOBS, unreadable(root / JOBS, error))]
    return [state for folder in folders if (state := _state(folder)) is not None]


def prune_jobs(root: Path) -> None:
    """Remove jobs that ended long ago, except the newest, and builds, whose commands state where models are stored."""
    try:
        old = _folders(root)[_KEPT:]
    except OSError:  # reported by whatever reads them
        return
    for folder in old:
        job = _state(folder)
        if job is None or job.status not in _ENDED or job.title == UNREADABLE or job.arguments[:1] == ["build"]:
            continue
        try:
            if time.time() - (folder / STATE_FILE).stat().st_mtime > _KEPT_FOR:
                # Under a name that no reader takes for a job, and that is cleared if this process is killed.
                shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.{uuid4().hex}")), ignore_errors=True)
        except OSError:  # of another user, or removed by another process
            continue


def _folders(root: Path) -> list[Path]:
    """List the folders of jobs, newest first."""
    folder = root / JOBS
    paths = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
    return [path for path in paths if JOB_ID.fullmatch(path.name)]


def _state(folder: Path) -> JobState | None:
    """Read a job's state; one that has ended is read again only if its files have changed."""
    stamp = tuple(_stamp(folder / name) for name in (STATE_FILE, COMMAND_FILE, DISMISSED_FILE))
    known = _cached.get(folder)
    if known is not None and known[0] == stamp:
        return replace(known[1])
    state = read_state(folder)
    if state is not None and state.status in _ENDED and state.title != UNREADABLE:
        if len(_cached) >= _MOST_CACHED:
            _cached.clear()
        _cached[folder] = (stamp, replace(state))
    return state


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def verify_jobs(root: Path) -> dict[str, list[str]]:
    """Verify the files of a library's jobs; return lines of problems by job.

    Jobs without problems are left out.
    """
    problems: dict[str, list[str]] = {}
    for job in read_jobs(root):
        own = [job.error or UNREADABLE] if job.title == UNREADABLE else []
        for name in () if own else (STATE_FILE, COMMAND_FILE):
            path = root / JOBS / job.id / name
            try:
                if path.exists() and is_changed(read_json(path)):
                    own.append(f"{name} is not as it was written")
                elif name == COMMAND_FILE:
                    read_command(path)
            except DamagedError as error:
                own.append(str(error))
        if own:
            problems[job.id] = own
    return problems


def read_log(root: Path, job_id: str) -> str:
    """Return the end of a job's log; empty for a job that was started in a terminal."""
    path = root / JOBS / job_id / LOG_FILE
    try:
        return end_of(path) if JOB_ID.fullmatch(job_id) and path.is_file() else ""
    except OSError as error:
        return str(unreadable(path, error))
