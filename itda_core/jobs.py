"""Long work in a process of its own: its state, progress and log lie in the library, and pages read them there.

A job is a run of the command line. It holds a lock on a file of its folder for as long as it lives, so that a job that
was killed is known as such by anyone, whatever process now has its number.
"""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout
from tqdm import tqdm

from itda_core.files import read_json, write_json
from itda_core.layout import JOBS
from itda_core.types import DamagedError, Growth, UserError

JOB_VARIABLE = "ITDA_JOB"
"""Environment variable that names the job a detached command runs as."""

_ID = re.compile(r"[a-z0-9-]{1,64}")
_STATE, _LOG, _LOCK = "state.json", "log.txt", "lock"
_WRITE_EVERY = 0.5
_GROWTH_POINTS = 400
_LOG_SHOWN = 20_000
_SILENT = 600  # seconds
_ASKED = 4  # how often a lock is tried before it counts as the job's


@dataclass
class JobState:
    """What a job says of itself."""

    id: str
    """Its folder's name."""
    title: str
    """What it does, for people."""
    pid: int | None = None
    """The process that runs it, on the machine where it runs."""
    status: str = "running"
    """`running`, `done` or `failed`; a reader sees `lost` where the process ended without a word."""
    stage: str = "starting"
    """What it does now."""
    done: int = 0
    """How much of the stage is done."""
    total: int | None = None
    """How much there is to do, where it is known."""
    unit: str = ""
    """What is counted."""
    note: str = ""
    """What there is to say of the stage beside its progress."""
    rate: float | None = None
    """Units a second in this stage."""
    started: str = ""
    """When it started, in UTC, ISO 8601."""
    updated: str = ""
    """When it last wrote this."""
    finished: list[str] = field(default_factory=list)
    """Ids of the dictionaries that are whole."""
    growth: dict[str, list[list[float]]] = field(default_factory=dict)
    """Per dictionary now being built: rows seen, atoms and mean error, batch by batch."""
    error: str | None = None
    """Why it failed."""

    @property
    def seconds_left(self) -> float | None:
        """Time left in this stage, where it can be told."""
        if not self.rate or self.total is None:
            return None
        return (self.total - self.done) / self.rate


class Job:
    """A job as it runs: reports progress to the terminal and to the library."""

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self.state = JobState(folder.name, title, os.getpid(), started=_now())
        self._bar: tqdm | None = None
        self._stage_started = 0.0
        self._written = 0.0
        self._write(force=True)

    def stage(self, name: str, total: int | None = None, unit: str = "tokens") -> None:
        """Begin a stage of the work, with how much there is to do where that is known."""
        self._close_bar()
        state = self.state
        state.stage, state.done, state.total, state.unit, state.rate, state.note = name, 0, total, unit, None, ""
        self._stage_started = time.monotonic()
        self._bar = tqdm(total=total, desc=name, unit=f" {unit}", unit_scale=True, file=sys.stderr, mininterval=0.5)
        self._write(force=True)

    def advance(self, amount: int) -> None:
        """Say that so much more of the stage is done."""
        state = self.state
        state.done += amount
        state.rate = state.done / max(time.monotonic() - self._stage_started, 1e-9)
        if self._bar is not None:
            self._bar.update(amount)
        self._write()

    def reached(self, done: int) -> None:
        """Say how much of the stage is done so far."""
        self.advance(done - self.state.done)

    def say(self, line: str) -> None:
        """Say something of this stage, in the log and where the job is followed."""
        tqdm.write(line, file=sys.stderr)
        self.state.note = line
        self._write()

    def grown(self, dictionary_id: str, history: list[Growth]) -> None:
        """Show how a dictionary grows; long histories are thinned."""
        step = max(1, len(history) // _GROWTH_POINTS)
        self.state.growth[dictionary_id] = [list(growth) for growth in history[::step]]

    def finished(self, dictionary_id: str) -> None:
        """Say that a dictionary is whole and can be opened."""
        self.state.growth.pop(dictionary_id, None)
        self.state.finished.append(dictionary_id)
        self._write(force=True)

    def _end(self, status: str, error: str | None = None) -> None:
        self._close_bar()
        self.state.status, self.state.error = status, error
        self._write(force=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._written > _WRITE_EVERY:
            self._written = now
            self.state.updated = _now()
            write_json(self._folder / _STATE, asdict(self.state))


@contextmanager
def running_job(root: Path, title: str, job_id: str | None = None) -> Iterator[Job]:
    """Run the body as a job of the library at `root`; how it ends is written down, and an exception goes on."""
    folder = root / JOBS / (job_id or _new_id())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root} cannot be written: {error.strerror}; name another --library") from error
    with FileLock(folder / _LOCK):
        job = Job(folder, title)
        try:
            yield job
        except UserError as error:
            job._end("failed", str(error))
            raise
        except KeyboardInterrupt:
            job._end("failed", "it was stopped")
            raise
        except BaseException as error:
            job._end("failed", f"{type(error).__name__}: {error}")
            raise
        job._end("done")


def fail_unstarted(root: Path, job_id: str, error: str) -> None:
    """Write down why a detached command ended before its job began, where it did."""
    folder = root / JOBS / job_id
    if _ID.fullmatch(job_id) and folder.is_dir() and not (folder / _STATE).exists():
        now = _now()
        write_json(
            folder / _STATE, asdict(JobState(job_id, "Start", status="failed", started=now, updated=now, error=error))
        )


def start_detached(root: Path, arguments: list[str]) -> str:
    """Start an `itda` command that outlives the caller; returns the job's id. Its output goes to the job's log."""
    job_id = _new_id()
    folder = root / JOBS / job_id
    folder.mkdir(parents=True)
    # -P: the folder it is started in must not hide a module of the same name.
    command = [sys.executable, "-P", "-m", "itda_core.cli", *arguments, "--library", str(root)]
    with (folder / _LOG).open("wb") as log:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, JOB_VARIABLE: job_id, "ITDA_LIBRARY": str(root)},
        )
    return job_id


def read_jobs(root: Path) -> list[JobState]:
    """All jobs of a library, the newest first. A job whose process is gone without a word is `lost`."""
    folder = root / JOBS
    found = []
    for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []:
        state = _read_state(path)
        if state is not None:
            found.append(state)
    return found


def read_log(root: Path, job_id: str) -> str:
    """The end of a job's log; empty for a job that was started in a terminal."""
    path = root / JOBS / job_id / _LOG
    if not _ID.fullmatch(job_id) or not path.is_file():
        return ""
    return path.read_bytes()[-_LOG_SHOWN:].decode(errors="replace")


@contextmanager
def build_lock(root: Path, dictionary_id: str) -> Iterator[None]:
    """Hold the lock of one dictionary id. Raises UserError at once when another process builds the same."""
    locks = root / JOBS / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{dictionary_id}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{dictionary_id} is being built by another process: wait for it to finish") from error
    try:
        yield
    finally:
        lock.release()


def _read_state(folder: Path) -> JobState | None:
    if not (folder / _STATE).is_file():
        if folder.name.startswith(".") or not folder.is_dir():
            return None
        # Started a moment ago and not yet at its first word, or died before it.
        waiting = time.time() - folder.stat().st_mtime < 60
        return JobState(folder.name, "starting", status="running" if waiting else "lost")
    try:
        state = _parse(folder.name, read_json(folder / _STATE))
    except (DamagedError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        return JobState(folder.name, "unreadable", status="failed", error=str(error))
    if state.status == "running" and not _is_held(folder / _LOCK):
        state.status = "lost"
        state.error = "its process ended without a word; start it again"
    return state


def _parse(job_id: str, said: Any) -> JobState:
    """A state that was read from a file; whatever is not of the right form raises."""

    def number(name: str, kind: type) -> Any:
        return None if said.get(name) is None else kind(said[name])

    return JobState(
        job_id,
        str(said["title"]),
        number("pid", int),
        str(said["status"]),
        str(said["stage"]),
        int(said["done"]),
        number("total", int),
        str(said["unit"]),
        str(said.get("note", "")),
        number("rate", float),
        str(said["started"]),
        str(said["updated"]),
        [str(dictionary_id) for dictionary_id in said["finished"]],
        {str(name): [[float(value) for value in point] for point in curve] for name, curve in said["growth"].items()},
        None if said["error"] is None else str(said["error"]),
    )


def _is_held(path: Path) -> bool:
    """Whether a process holds the lock: the job, or for a moment another reader that asks the same."""
    for _ in range(_ASKED):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            time.sleep(random.uniform(0.002, 0.01))
            continue
        except OSError:  # a library that may only be read: all there is to go by is when the job last wrote
            return time.time() - (path.parent / _STATE).stat().st_mtime < _SILENT
        lock.release()
        return False
    return True


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
