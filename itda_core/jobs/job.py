"""Run long work as a job that reports progress and can be cancelled."""

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from itda_core.common.disk_errors import translated_disk_errors, writing
from itda_core.common.errors import UserError
from itda_core.common.layout import JOBS
from itda_core.common.parts import clear_library, part_beside
from itda_core.common.text import one_line
from itda_core.common.types import GrowthPoint
from itda_core.jobs.read import prune_jobs
from itda_core.jobs.state import LOCK_FILE, RESERVE_FILE, JobState, Status, new_id, timestamp, write_state

JOB_VARIABLE = "ITDA_JOB"
"""Environment variable with the id of the job that a detached command runs as."""
_RESERVED = 1 << 16  # bytes reserved so that a job can record its end when the disk is full
_WRITE_EVERY = 0.5
_GROWTH_POINTS = 400


class Job:
    """A running job: reports progress to the terminal and to the library."""

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self.state = JobState(folder.name, title, os.getpid(), socket.gethostname(), started=timestamp())
        self._bar: tqdm | None = None
        self._stage_started, self._done_before = 0.0, 0
        self._written = 0.0
        self._write(force=True)

    def stage(self, name: str, total: int | None = None, unit: str = "tokens", done: int = 0) -> None:
        """Begin a stage of the work.

        `total` is the amount of work if it is known, `done` the amount done before.
        """
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
        """Report that another `amount` of the stage is done."""
        state = self.state
        state.done += amount
        state.rate = (state.done - self._done_before) / max(time.monotonic() - self._stage_started, 1e-9)
        if self._bar is not None:
            self._bar.update(amount)
        self._write()

    def reached(self, done: int) -> None:
        """Report the total amount of the stage that is done."""
        self.advance(done - self.state.done)

    def say(self, line: str) -> None:
        """Report a line about this stage, in the log and in the job's state."""
        tqdm.write(one_line(line), file=sys.stderr)
        self.state.note = line
        self._write(force=True)

    def grown(self, dictionary_id: str, history: list[GrowthPoint]) -> None:
        """Report the growth of a dictionary; long histories are thinned."""
        step = max(1, len(history) // _GROWTH_POINTS)
        self.state.growth[dictionary_id] = [list(growth) for growth in history[::step]]

    def finished(self, dictionary_id: str) -> None:
        """Report that a dictionary is complete and can be opened."""
        self.state.growth.pop(dictionary_id, None)
        self.state.finished.append(dictionary_id)
        self._write(force=True)

    def _end(self, status: Status, error: str | None = None) -> None:
        self._close_bar()
        self.state.status, self.state.error = status, error
        self.state.growth.clear()  # growth is only reported for dictionaries being built
        self._write(force=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._written > _WRITE_EVERY:
            self._written = now
            self.state.updated = timestamp()
            write_state(self._folder, self.state)


@contextmanager
def running_job(root: Path, title: str, job_id: str | None = None) -> Iterator[Job]:
    """Run the body as a job of the library at `root`.

    Its outcome is recorded; an exception is raised again.
    """
    folder = root / JOBS / (job_id or new_id())
    with ExitStack() as held:
        try:
            with writing(root):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(folder / LOCK_FILE))
                clear_library(root)
                prune_jobs(root)
                reserve = held.enter_context(part_beside(folder / RESERVE_FILE, _fill))
                job = Job(folder, title)
        except BaseException:
            if job_id is None:  # a command that was started from a page keeps its log
                shutil.rmtree(folder, ignore_errors=True)
            raise

        def end(status: Status, error: str | None = None) -> None:
            os.truncate(reserve, 0)  # it is held open: only truncation frees its blocks
            job._end(status, error)

        try:
            with translated_disk_errors(root):
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
    reserve.write_bytes(os.urandom(_RESERVED))  # random: a compressing file system would reserve nothing for zeros
