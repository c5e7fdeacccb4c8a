"""Read and write a job's state file, which may be untrusted."""

import os
import re
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field

from itda_core.common.errors import DamagedError
from itda_core.common.files import is_file, read_json, unreadable, write_sealed
from itda_core.common.layout import JOBS
from itda_core.common.text import one_line
from itda_core.common.validate import Count, Finite, parse
from itda_core.jobs.locks import is_held

JOB_ID = re.compile(r"[a-z0-9-]{1,64}")
STATE_FILE, COMMAND_FILE, LOG_FILE, LOCK_FILE, RESERVE_FILE = "state.json", "command.json", "log.txt", "lock", "reserve"
DISMISSED_FILE = "dismissed"
_LONGEST = 100 * 365 * 86400  # seconds: a longer estimate is not shown
_HIGHEST_PID = 2**31 - 1
UNREADABLE = "unreadable"
"""Title of a job whose state is damaged; its error states the problem."""
_SILENT = 600  # seconds without an update after which a job counts as ended
_LOG_SHOWN = 20_000
_SHOWN = 300
Status = Literal["running", "done", "failed", "cancelled", "lost"]
"""Status of a job."""


@dataclass
class JobState:
    """State of a job, as recorded in its state file."""

    id: str
    """Its folder's name."""
    title: str
    """Human-readable description of its task."""
    pid: Annotated[int, Field(gt=1, le=_HIGHEST_PID)] | None = None
    """Id of its process on its machine. 1 and below are refused: a signal to them would reach other processes."""
    host: str = ""
    """Name of that machine."""
    status: Status = "running"
    """`running`, `done`, `failed` or `cancelled`; a reader reports `lost` if the process ended without recording its
    end."""
    stage: str = "starting"
    """Name of the current stage."""
    done: Count = 0
    """Amount of the stage that is done."""
    total: Count | None = None
    """Total amount of the stage, if known."""
    unit: str = ""
    """Unit of the amounts."""
    note: str = ""
    """Last message about the stage."""
    rate: Finite | None = None
    """Units per second in this stage."""
    started: str = ""
    """Time of the start in UTC, ISO 8601."""
    updated: str = ""
    """Time of the last update."""
    finished: list[str] = field(default_factory=list)
    """Ids of the dictionaries that are complete."""
    growth: dict[str, list[Annotated[list[Finite], Field(min_length=3, max_length=3)]]] = field(default_factory=dict)
    """For each dictionary being built: rows seen, atoms and mean error, batch by batch."""
    error: str | None = None
    """Reason for its failure, or for having been killed when it was cancelled."""
    arguments: list[str] = field(default_factory=list)
    """Arguments of the `itda` command that a page started; empty for a job that was started in a terminal."""
    is_dismissed: bool = False
    """Whether a reader has dismissed it, once it had ended."""

    @property
    def age(self) -> float:
        """Seconds since it started; 0 if that is not known."""
        try:
            return time.time() - datetime.fromisoformat(self.started).timestamp()
        except (ValueError, OverflowError):  # not yet started, or the state is not as it was written
            return 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated time left in this stage, or None if it cannot be estimated."""
        if self.rate is None or self.rate <= 0 or self.total is None:
            return None
        left = (self.total - self.done) / self.rate
        return left if left <= _LONGEST else None


def end_of(log: Path) -> str:
    """Return the end of a log."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_SHOWN))
        return file.read().decode(errors="replace")


def _lost(folder: Path) -> str:
    """Explain why a job is gone, with the last line of its log if there is one."""
    try:
        lines = end_of(folder / LOG_FILE).replace("\r", "\n").split("\n")
    except OSError:
        lines = []
    last = next((line for line in reversed(lines) if line.strip()), None)
    ending = "without a log" if last is None else f"and its log ends with {one_line(last.strip())[:_SHOWN]!r}"
    return f"its process ended {ending}; start it again"


def write_state(folder: Path, state: JobState) -> None:
    """Write a job's state atomically."""
    values = {name: one_line(value) if isinstance(value, str) else value for name, value in asdict(state).items()}
    del values["arguments"], values["is_dismissed"]  # in files of their own, which others write
    write_sealed(folder / STATE_FILE, values)


def read_state(folder: Path, held: bool = False) -> JobState | None:
    """Read a job's state from its folder; None if the folder is not a job's.

    `held` states that the caller itself holds the job's lock.
    """
    try:
        state = _state_of(folder, held)
    except OSError as error:  # owned by another user
        state = unreadable_job(folder.name, unreadable(folder, error))
    except DamagedError as error:
        state = unreadable_job(folder.name, error)
    if state is not None:
        state.is_dismissed = _is_dismissed(folder)
    return state


def _is_dismissed(folder: Path) -> bool:
    try:
        return (folder / DISMISSED_FILE).is_file()
    except OSError:  # of another user: reported as unreadable
        return False


def _state_of(folder: Path, held: bool) -> JobState | None:
    if not (folder / STATE_FILE).is_file():
        if not folder.is_dir():
            return None
        # Just started and no state written yet, or ended before writing one.
        waiting = not _is_dismissed(folder) and time.time() - folder.stat().st_mtime < 60
        status, error = ("running", None) if waiting else ("lost", _lost(folder))
        return JobState(folder.name, "Starting", status=status, error=error, arguments=_arguments(folder))
    raw = read_json(folder / STATE_FILE)
    own = {"id": folder.name, "arguments": _arguments(folder)}
    raw = raw | own if isinstance(raw, dict) else raw
    state = parse(JobState, raw, f"{STATE_FILE} of job {folder.name}", f"delete {JOBS}/{folder.name}")
    if state.status == "running" and not held and not _runs(folder):
        state.status = "lost"
        state.error = _lost(folder)
    return state


def _runs(folder: Path) -> bool:
    """Return whether a process holds a job's lock.

    If the lock cannot be read, whether the job's state was updated recently.
    """
    try:
        return is_held(folder / LOCK_FILE)
    except OSError:
        return time.time() - (folder / STATE_FILE).stat().st_mtime < _SILENT


def unreadable_job(job_id: str, error: DamagedError) -> JobState:
    """Return the state of a job that cannot be read: only the error is known."""
    return JobState(job_id, UNREADABLE, status="failed", error=str(error))


@dataclass(frozen=True)
class Command:
    """Command that a job was started with."""

    arguments: list[str]


def _arguments(folder: Path) -> list[str]:
    """Return the command that a job was started with; empty if it cannot be read."""
    try:
        return read_command(folder / COMMAND_FILE)
    except DamagedError:
        return []  # the rest of the job can still be shown; verify_jobs reports this


def read_command(path: Path) -> list[str]:
    """Read the command that a job was started with.

    Empty for a job that was started in a terminal. Raises DamagedError.
    """
    if not is_file(path):
        return []
    raw = read_json(path)
    raw = {"arguments": raw} if isinstance(raw, list) else raw  # an earlier form of the file
    return parse(Command, raw, f"{COMMAND_FILE} of job {path.parent.name}", "delete it").arguments


def new_id() -> str:
    """Return a unique job id."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def timestamp() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
