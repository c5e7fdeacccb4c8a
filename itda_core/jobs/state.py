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
from itda_core.common.files import read_json, unreadable, write_sealed
from itda_core.common.layout import JOBS
from itda_core.common.text import one_line
from itda_core.common.validate import Count, Finite, parse
from itda_core.jobs.locks import is_held

JOB_ID = re.compile(r"[a-z0-9-]{1,64}")
STATE_FILE, COMMAND_FILE, LOG_FILE, LOCK_FILE, RESERVE_FILE = "state.json", "command.json", "log.txt", "lock", "reserve"
_LONGEST = 100 * 365 * 86400  # seconds: what takes longer cannot be told
_HIGHEST_PID = 2**31 - 1
UNREADABLE = "unreadable"
"""Title of a job whose state is damaged; its error says what is wrong."""
_SILENT = 600  # seconds
_LOG_SHOWN = 20_000
_SHOWN = 300
Status = Literal["running", "done", "failed", "cancelled", "lost"]
"""How a job stands."""


@dataclass
class JobState:
    """What a job says of itself."""

    id: str
    """Its folder's name."""
    title: str
    """What it does, for people."""
    pid: Annotated[int, Field(gt=1, le=_HIGHEST_PID)] | None = None
    """The process that runs it, on the machine where it runs; a signal to 1 or less would go to many."""
    host: str = ""
    """That machine's name."""
    status: Status = "running"
    """`running`, `done`, `failed` or `cancelled`; a reader sees `lost` where the process ended without a word."""
    stage: str = "starting"
    """What it does now."""
    done: Count = 0
    """How much of the stage is done."""
    total: Count | None = None
    """How much there is to do, where it is known."""
    unit: str = ""
    """What is counted."""
    note: str = ""
    """What there is to say of the stage beside its progress."""
    rate: Finite | None = None
    """Units a second in this stage."""
    started: str = ""
    """When it started, in UTC, ISO 8601."""
    updated: str = ""
    """When it last wrote this."""
    finished: list[str] = field(default_factory=list)
    """Ids of the dictionaries that are whole."""
    growth: dict[str, list[Annotated[list[Finite], Field(min_length=3, max_length=3)]]] = field(default_factory=dict)
    """Per dictionary now being built: rows seen, atoms and mean error, batch by batch."""
    error: str | None = None
    """Why it failed, or how a job that was cancelled had to be ended."""
    arguments: list[str] = field(default_factory=list)
    """The `itda` command that it was started with from a page; empty for one that was started in a terminal."""

    @property
    def seconds_left(self) -> float | None:
        """Time left in this stage, where it can be told."""
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
    """Why a job is gone, as far as it can be told: the last that it put into its log, where it has one."""
    try:
        lines = end_of(folder / LOG_FILE).replace("\r", "\n").split("\n")
    except OSError:
        lines = []
    last = next((line for line in reversed(lines) if line.strip()), None)
    what = "without a word" if last is None else f"and its log ends with {one_line(last.strip())[:_SHOWN]!r}"
    return f"its process ended {what}; start it again"


def write_state(folder: Path, state: JobState) -> None:
    """Write a job's state, whole or not at all."""
    said = {name: one_line(value) if isinstance(value, str) else value for name, value in asdict(state).items()}
    del said["arguments"]  # they have a file of their own, written before the job began
    write_sealed(folder / STATE_FILE, said)


def read_state(folder: Path, held: bool = False) -> JobState | None:
    """What a job's folder says; None where it is no job's. `held` where the caller itself holds the job's lock."""
    try:
        return _state_of(folder, held)
    except OSError as error:  # another user's
        return unreadable_job(folder.name, unreadable(folder, error))
    except DamagedError as error:
        return unreadable_job(folder.name, error)


def _state_of(folder: Path, held: bool) -> JobState | None:
    if not (folder / STATE_FILE).is_file():
        if not folder.is_dir():
            return None
        # Started a moment ago and not yet at its first word, or died before it.
        waiting = time.time() - folder.stat().st_mtime < 60
        status, error = ("running", None) if waiting else ("lost", _lost(folder))
        return JobState(folder.name, "Starting", status=status, error=error, arguments=_arguments(folder))
    said = read_json(folder / STATE_FILE)
    own = {"id": folder.name, "arguments": _arguments(folder)}
    said = said | own if isinstance(said, dict) else said
    state = parse(JobState, said, f"{STATE_FILE} of job {folder.name}", f"delete {JOBS}/{folder.name}")
    if state.status == "running" and not held and not _runs(folder):
        state.status = "lost"
        state.error = _lost(folder)
    return state


def _runs(folder: Path) -> bool:
    """Whether a process holds a job's lock; where that cannot be seen, whether the job wrote of late."""
    try:
        return is_held(folder / LOCK_FILE)
    except OSError:
        return time.time() - (folder / STATE_FILE).stat().st_mtime < _SILENT


def unreadable_job(job_id: str, error: DamagedError) -> JobState:
    """A job of which nothing can be known but why."""
    return JobState(job_id, UNREADABLE, status="failed", error=str(error))


@dataclass(frozen=True)
class Command:
    """What a job was started with."""

    arguments: list[str]


def _arguments(folder: Path) -> list[str]:
    """The command that a job was started with; empty where there is none to be read."""
    try:
        return read_command(folder / COMMAND_FILE)
    except DamagedError:
        return []  # all else of the job can still be shown, and verify_jobs says so


def read_command(path: Path) -> list[str]:
    """The command that a job was started with; empty for one of a terminal. Raises DamagedError."""
    if not path.exists():
        return []
    said = read_json(path)
    said = {"arguments": said} if isinstance(said, list) else said  # as it was first written
    return parse(Command, said, f"{COMMAND_FILE} of job {path.parent.name}", "delete it").arguments


def new_id() -> str:
    """Return an id that no other job has."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def timestamp() -> str:
    """Return the time now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
