"""List a library's jobs, their problems and their logs."""

from pathlib import Path

from itda_core.common.errors import DamagedError
from itda_core.common.files import is_changed, read_json, unreadable
from itda_core.common.layout import JOBS
from itda_core.jobs.state import (
    COMMAND_FILE,
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


def read_jobs(root: Path) -> list[JobState]:
    """Read all jobs of a library, newest first.

    A job whose process is gone without a recorded end is `lost`. One that cannot be read is `failed`, with the title
    UNREADABLE, and does not prevent the others from being read.
    """
    folder = root / JOBS
    try:
        paths = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
        paths = [path for path in paths if JOB_ID.fullmatch(path.name)]
    except OSError as error:
        return [unreadable_job(folder.name, unreadable(folder, error))]
    found = []
    for path in paths:
        state = read_state(path)
        if state is not None:
            found.append(state)
    return found


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
