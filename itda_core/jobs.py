"""Long work in a process of its own: its state, progress and log lie in the library, and pages read them there.

A job is a run of the command line. It holds a lock on a file of its folder for as long as it lives, so that a job that
was killed is known as such by anyone, whatever process now has its number.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import Field
from tqdm import tqdm

from itda_core.disk_errors import telling, writing
from itda_core.files import is_changed, read_json, unreadable, write_sealed
from itda_core.layout import JOBS
from itda_core.parsing import Count, Finite, parse
from itda_core.parts import clear_library, part_beside
from itda_core.types import DamagedError, Growth, UserError, check_argument, one_line

JOB_VARIABLE = "ITDA_JOB"
"""Environment variable that names the job a detached command runs as."""

_ID = re.compile(r"[a-z0-9-]{1,64}")
_STATE, _COMMAND, _LOG, _LOCK, _RESERVE = "state.json", "command.json", "log.txt", "lock", "reserve"
_RESERVED = 1 << 16  # bytes that a job holds back to write down how it ended when the disk is full
_LONGEST = 100 * 365 * 86400  # seconds: what takes longer cannot be told
_HIGHEST_PID = 2**31 - 1
UNREADABLE = "unreadable"
"""Title of a job whose state is damaged; its error says what is wrong."""
_WRITE_EVERY = 0.5
_GROWTH_POINTS = 400
_LOG_SHOWN = 20_000
_SHOWN = 300
_SILENT = 600  # seconds
_ASKED = 4  # how often a lock is tried before it counts as the job's
_ASKED_TO_KILL = 40  # the same, before a process is sent a signal
_PATIENCE = 10  # seconds that a job has to end by itself
_KILLED_WITHIN = 5  # seconds that the system has to end it
_FIRST_WORD_WITHIN = 20  # seconds that a job has to say which process it is


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


class Job:
    """A job as it runs: reports progress to the terminal and to the library."""

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self.state = JobState(folder.name, title, os.getpid(), socket.gethostname(), started=_now())
        self._bar: tqdm | None = None
        self._stage_started, self._done_before = 0.0, 0
        self._written = 0.0
        self._write(force=True)

    def stage(self, name: str, total: int | None = None, unit: str = "tokens", done: int = 0) -> None:
        """Begin a stage of the work, with how much there is to do where that is known, and how much was done before."""
        self._close_bar()
        state = self.state
        state.stage, state.done, state.total, state.unit, state.rate, state.note = name, done, total, unit, None, ""
        self._stage_started, self._done_before = time.monotonic(), done
        self._bar = tqdm(
            total=total,
            desc=one_line(name),
            unit=f" {unit}",
            unit_scale=True,
            initial=done,
            file=sys.stderr,
            mininterval=0.5,
        )
        self._write(force=True)

    def advance(self, amount: int) -> None:
        """Say that so much more of the stage is done."""
        state = self.state
        state.done += amount
        state.rate = (state.done - self._done_before) / max(time.monotonic() - self._stage_started, 1e-9)
        if self._bar is not None:
            self._bar.update(amount)
        self._write()

    def reached(self, done: int) -> None:
        """Say how much of the stage is done so far."""
        self.advance(done - self.state.done)

    def say(self, line: str) -> None:
        """Say something of this stage, in the log and where the job is followed."""
        tqdm.write(one_line(line), file=sys.stderr)
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

    def _end(self, status: Status, error: str | None = None) -> None:
        self._close_bar()
        self.state.status, self.state.error = status, error
        self.state.growth.clear()  # of what is being built: nothing is
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
            _write_state(self._folder, self.state)


@contextmanager
def running_job(root: Path, title: str, job_id: str | None = None) -> Iterator[Job]:
    """Run the body as a job of the library at `root`; how it ends is written down, and an exception goes on."""
    folder = root / JOBS / (job_id or _new_id())
    with ExitStack() as held:
        try:
            with writing(root):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(folder / _LOCK))
                clear_library(root)
                reserve = held.enter_context(part_beside(folder / _RESERVE, _fill))
                job = Job(folder, title)
        except BaseException:
            if job_id is None:  # of a command that was started from a page the log is kept
                shutil.rmtree(folder, ignore_errors=True)
            raise

        def end(status: Status, error: str | None = None) -> None:
            os.truncate(reserve, 0)  # it is held open, so that removing it frees nothing
            job._end(status, error)

        try:
            with telling(root):
                yield job
        except UserError as error:
            end("failed", str(error))
            raise
        except KeyboardInterrupt:
            end("cancelled")
            raise
        except BaseException as error:
            end("failed", f"{type(error).__name__}: {error}")
            raise
        end("done")


def _fill(reserve: Path) -> None:
    reserve.write_bytes(os.urandom(_RESERVED))  # of zeros, a file system that compresses would hold nothing back


def fail_unstarted(root: Path, job_id: str, error: str) -> None:
    """Write down why a detached command ended before its job began, where it did."""
    folder = root / JOBS / job_id
    if _ID.fullmatch(job_id) and folder.is_dir() and not (folder / _STATE).exists():
        now = _now()
        _write_state(folder, JobState(job_id, "Start", status="failed", started=now, updated=now, error=error))


def start_detached(root: Path, arguments: list[str]) -> str:
    """Start an `itda` command that outlives the caller; returns the job's id. Its output goes to the job's log.

    Raises UserError where the library cannot be written, or an argument can be no text of a command.
    """
    for argument in arguments:
        check_argument(argument)
    job_id = _new_id()
    folder = root / JOBS / job_id
    with writing(root):
        folder.mkdir(parents=True)
        write_sealed(folder / _COMMAND, asdict(_Command(arguments)))
    # -P: the folder it is started in must not hide a module of the same name.
    command = [sys.executable, "-P", "-m", "itda_core.cli", *arguments, "--library", str(root)]
    with writing(root), (folder / _LOG).open("wb") as log:
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
    """All jobs of a library, the newest first. A job whose process is gone without a word is `lost`.

    One that cannot be read is `failed`, its title UNREADABLE: it hides none of the others.
    """
    folder = root / JOBS
    try:
        paths = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
        paths = [path for path in paths if _ID.fullmatch(path.name)]
    except OSError as error:
        return [_unreadable(folder.name, unreadable(folder, error))]
    found = []
    for path in paths:
        state = _read_state(path)
        if state is not None:
            found.append(state)
    return found


def verify_jobs(root: Path) -> dict[str, list[str]]:
    """What is wrong with the files of a library's jobs, a line each, by job; those that are sound are left out."""
    problems: dict[str, list[str]] = {}
    for job in read_jobs(root):
        own = [job.error or UNREADABLE] if job.title == UNREADABLE else []
        for name in () if own else (_STATE, _COMMAND):
            path = root / JOBS / job.id / name
            try:
                if path.exists() and is_changed(read_json(path)):
                    own.append(f"{name} is not as it was written")
                elif name == _COMMAND:
                    _read_command(path)
            except DamagedError as error:
                own.append(str(error))
        if own:
            problems[job.id] = own
    return problems


def read_log(root: Path, job_id: str) -> str:
    """The end of a job's log; empty for a job that was started in a terminal."""
    path = root / JOBS / job_id / _LOG
    try:
        return _end_of(path) if _ID.fullmatch(job_id) and path.is_file() else ""
    except OSError as error:
        return str(unreadable(path, error))


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_SHOWN))
        return file.read().decode(errors="replace")


def _lost(folder: Path) -> str:
    """Why a job is gone, as far as it can be told: the last that it put into its log, where it has one."""
    try:
        lines = _end_of(folder / _LOG).replace("\r", "\n").split("\n")
    except OSError:
        lines = []
    last = next((line for line in reversed(lines) if line.strip()), None)
    what = "without a word" if last is None else f"and its log ends with {one_line(last.strip())[:_SHOWN]!r}"
    return f"its process ended {what}; start it again"


def cancel(root: Path, job_id: str, patience: float = _PATIENCE) -> JobState:
    """End a running job, wait until it has ended, and return its last state: `cancelled`, or `done` if it was quicker.

    Its process is sent a signal only while the job's lock is held, since a process that ended leaves its number to a
    stranger. One that does not end in time is killed, and the job says so.

    Args:
        root: the library.
        job_id: the job.
        patience: seconds that it has to end by itself.

    Raises:
        UserError: there is no such job, it does not run, it runs on another machine, or it is another user's.
    """
    folder = root / JOBS / job_id
    state = _read_state(folder) if _ID.fullmatch(job_id) and folder.is_dir() else None
    if state is None:
        raise UserError(f"there is no job {job_id[:80]!r} in this library: itda jobs lists those there are")
    if state.status == "running" and state.pid is None:  # it may have been started a moment ago
        _wait_until((folder / _STATE).is_file, _FIRST_WORD_WITHIN)
        state = _read_state(folder) or state
    if state.status != "running":
        raise UserError(f"job {job_id} is not running: it is {state.status}")
    if state.host != socket.gethostname():
        raise UserError(f"job {job_id} runs on another machine, {one_line(state.host) or 'unknown'}: cancel it there")
    if not os.access(folder / _LOCK, os.W_OK) or not (folder / _LOCK).is_file():
        raise UserError(f"job {job_id} cannot be told from others here: its lock cannot be asked for")
    if state.pid is None or not _is_held(folder / _LOCK, _ASKED_TO_KILL):
        raise UserError(f"job {job_id} has not begun: try again in a moment")

    def has_ended() -> bool:
        return not _is_held(folder / _LOCK)

    _send(state.pid, signal.SIGTERM, job_id)
    note = None
    if not _wait_until(has_ended, patience):
        _send(state.pid, signal.SIGKILL, job_id)
        note = f"it did not end within {patience:g} seconds and was killed"
        if not _wait_until(has_ended, _KILLED_WITHIN):
            raise UserError(f"job {job_id} cannot be ended, process {state.pid} does not stop: see what holds it up")
    pid = state.pid
    _wait_until(lambda: not _is_alive(pid), _KILLED_WITHIN)  # its memory is free again
    with FileLock(folder / _LOCK):
        state = _read_state(folder, held=True) or state
        if state.status not in ("done", "cancelled"):  # killed, or it took the interruption for a fault
            state.status, state.error, state.updated = "cancelled", note, _now()
            _write_state(folder, state)
    return state


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


def _write_state(folder: Path, state: JobState) -> None:
    said = {name: one_line(value) if isinstance(value, str) else value for name, value in asdict(state).items()}
    del said["arguments"]  # they have a file of their own, written before the job began
    write_sealed(folder / _STATE, said)


def _read_state(folder: Path, held: bool = False) -> JobState | None:
    """What a job's folder says; None where it is no job's. `held` where the caller itself holds the job's lock."""
    try:
        return _state_of(folder, held)
    except OSError as error:  # another user's
        return _unreadable(folder.name, unreadable(folder, error))
    except DamagedError as error:
        return _unreadable(folder.name, error)


def _state_of(folder: Path, held: bool) -> JobState | None:
    if not (folder / _STATE).is_file():
        if not folder.is_dir():
            return None
        # Started a moment ago and not yet at its first word, or died before it.
        waiting = time.time() - folder.stat().st_mtime < 60
        status, error = ("running", None) if waiting else ("lost", _lost(folder))
        return JobState(folder.name, "Starting", status=status, error=error, arguments=_arguments(folder))
    said = read_json(folder / _STATE)
    own = {"id": folder.name, "arguments": _arguments(folder)}
    said = said | own if isinstance(said, dict) else said
    state = parse(JobState, said, f"{_STATE} of job {folder.name}", f"delete {JOBS}/{folder.name}")
    if state.status == "running" and not held and not _is_held(folder / _LOCK):
        state.status = "lost"
        state.error = _lost(folder)
    return state


def _unreadable(job_id: str, error: DamagedError) -> JobState:
    """A job of which nothing can be known but why."""
    return JobState(job_id, UNREADABLE, status="failed", error=str(error))


@dataclass(frozen=True)
class _Command:
    """What a job was started with."""

    arguments: list[str]


def _arguments(folder: Path) -> list[str]:
    """The command that a job was started with; empty where there is none to be read."""
    try:
        return _read_command(folder / _COMMAND)
    except DamagedError:
        return []  # all else of the job can still be shown, and verify_jobs says so


def _read_command(path: Path) -> list[str]:
    """The command that a job was started with; empty for one of a terminal. Raises DamagedError."""
    if not path.exists():
        return []
    said = read_json(path)
    said = {"arguments": said} if isinstance(said, list) else said  # as it was first written
    return parse(_Command, said, f"{_COMMAND} of job {path.parent.name}", "delete it").arguments


def _send(pid: int, what: signal.Signals, job_id: str) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        pass  # it ended at this moment
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
    """Whether a process still runs; one that has ended and only waits for its parent to notice does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # a system without /proc, or it ended at this moment
        return False


def _is_held(path: Path, asked: int = _ASKED) -> bool:
    """Whether a process holds the lock: the job, or for a moment another reader that asks the same."""
    for _ in range(asked):
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
