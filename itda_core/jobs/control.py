"""Start jobs in separate processes, and cancel them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from itda_core.common.disk_errors import writing
from itda_core.common.errors import UserError, check_argument
from itda_core.common.files import write_sealed
from itda_core.common.layout import JOBS
from itda_core.common.text import one_line
from itda_core.jobs.job import JOB_VARIABLE
from itda_core.jobs.locks import is_held
from itda_core.jobs.state import (
    COMMAND_FILE,
    DISMISSED_FILE,
    JOB_ID,
    LOCK_FILE,
    LOG_FILE,
    STATE_FILE,
    Command,
    JobState,
    new_id,
    read_state,
    timestamp,
    write_state,
)

_PATIENCE = 10  # seconds for a job to end by itself
_KILLED_WITHIN = 5  # seconds for the system to end a killed process
_STARTED_WITHIN = 20  # seconds for a new job to write its process id


def fail_unstarted(root: Path, job_id: str, error: str) -> None:
    """Record why a detached command ended before its job began, if it did."""
    folder = root / JOBS / job_id
    if JOB_ID.fullmatch(job_id) and folder.is_dir() and not (folder / STATE_FILE).exists():
        now = timestamp()
        write_state(folder, JobState(job_id, "Start", status="failed", started=now, updated=now, error=error))


def start_detached(root: Path, arguments: list[str]) -> str:
    """Start an `itda` command that outlives the caller, and return the job's id.

    Its output is written to the job's log. Raises UserError if the library cannot be written, or an argument cannot be
    passed to a command.
    """
    for argument in arguments:
        check_argument(argument)
    job_id = new_id()
    folder = root / JOBS / job_id
    with writing(root):
        folder.mkdir(parents=True)
        write_sealed(folder / COMMAND_FILE, asdict(Command(arguments)))
    # -P: a module of the same name in the working directory must not shadow the package.
    command = [sys.executable, "-P", "-m", "itda_core.cli", *arguments, "--library", str(root)]
    with writing(root), (folder / LOG_FILE).open("wb") as log:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, JOB_VARIABLE: job_id, "ITDA_LIBRARY": str(root)},
        )
    return job_id


def dismiss(root: Path, job_id: str) -> None:
    """Mark an ended job as dismissed: pages no longer show it, and its folder stays.

    Raises UserError if it still runs, does not exist, or its folder cannot be written.
    """
    folder, state = _existing(root, job_id)
    if state.status == "running":
        raise UserError(f"job {job_id} is running: cancel it first")
    with writing(root):
        (folder / DISMISSED_FILE).touch()


def cancel(root: Path, job_id: str, patience: float = _PATIENCE) -> JobState:
    """End a running job, wait for its end, and return its last state.

    The state is `cancelled`, or `done` if the job finished first. The process is sent a signal only while the job's
    lock is held, since the id of an ended process may be reused by an unrelated one. A job that does not end in time is
    killed, and its state records this.

    Args:
        root: the library.
        job_id: the job.
        patience: seconds for it to end by itself.

    Raises:
        UserError: there is no such job, it does not run, it runs on another machine, or it is another user's.
    """
    folder, state = _existing(root, job_id)
    if state.status == "running" and state.pid is None:  # it may have just been started
        _wait_until((folder / STATE_FILE).is_file, _STARTED_WITHIN)
        state = read_state(folder) or state
    if state.status != "running":
        raise UserError(f"job {job_id} is not running: it is {state.status}")
    if state.host != socket.gethostname():
        raise UserError(f"job {job_id} runs on another machine, {one_line(state.host) or 'unknown'}: cancel it there")
    if not os.access(folder / LOCK_FILE, os.W_OK) or not (folder / LOCK_FILE).is_file():
        raise UserError(f"job {job_id} cannot be identified: its lock file cannot be opened")
    if state.pid is None or not _holds_lock(folder):
        raise UserError(f"job {job_id} has not begun: try again in a moment")

    def has_ended() -> bool:
        return not _holds_lock(folder)

    _send(state.pid, signal.SIGTERM, job_id)
    note = None
    if not _wait_until(has_ended, patience):
        _send(state.pid, signal.SIGKILL, job_id)
        note = f"it did not end within {patience:g} seconds and was killed"
        if not _wait_until(has_ended, _KILLED_WITHIN):
            raise UserError(f"job {job_id} cannot be ended, process {state.pid} does not stop: see what holds it up")
    pid = state.pid
    _wait_until(lambda: not _is_alive(pid), _KILLED_WITHIN)  # wait until its memory is released
    with FileLock(folder / LOCK_FILE):
        state = read_state(folder, held=True) or state
        if state.status not in ("done", "cancelled"):  # killed, or it reported the interruption as a failure
            state.status, state.error, state.updated = "cancelled", note, timestamp()
            write_state(folder, state)
    return state


def _existing(root: Path, job_id: str) -> tuple[Path, JobState]:
    """Return a job's folder and state. Raises UserError where there is no such job."""
    folder = root / JOBS / job_id
    state = read_state(folder) if JOB_ID.fullmatch(job_id) and folder.is_dir() else None
    if state is None:
        raise UserError(f"there is no job {job_id[:80]!r} in this library: itda jobs lists those there are")
    return folder, state


def _holds_lock(folder: Path) -> bool:
    """Return whether a process holds a job's lock. Raises UserError where that cannot be seen."""
    try:
        return is_held(folder / LOCK_FILE)
    except OSError as error:
        raise UserError(f"job {folder.name} cannot be cancelled: its lock cannot be read, {error.strerror}") from error


def _send(pid: int, sent: signal.Signals, job_id: str) -> None:
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        pass  # it ended meanwhile
    except PermissionError as error:
        raise UserError(f"job {job_id} belongs to another user: let them cancel it") from error


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _is_alive(pid: int) -> bool:
    """Return whether a process still runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # a system without /proc, or the process ended meanwhile
        return False
