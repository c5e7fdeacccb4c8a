import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from itda_core.jobs import read_jobs, read_log, running_job, start_detached
from itda_core.types import Growth, UserError


def wait_for(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def test_a_job_says_how_far_it_is(tmp_path: Path) -> None:
    with running_job(tmp_path, "Something") as job:
        job.stage("building", 100)
        job.advance(25)
        job.grown("some-id", [Growth(25, 3, 0.5)])
        job.stage("encoding", 10)
        (seen,) = read_jobs(tmp_path)
        assert (seen.status, seen.stage, seen.total) == ("running", "encoding", 10)
        assert seen.growth == {"some-id": [[25, 3, 0.5]]}
        job.finished("some-id")
    (seen,) = read_jobs(tmp_path)
    assert (seen.status, seen.finished, seen.growth) == ("done", ["some-id"], {})


@pytest.mark.parametrize(
    ("error", "reason"), [(UserError("mend it"), "mend it"), (RuntimeError("broke"), "RuntimeError: broke")]
)
def test_a_job_that_fails_says_why(tmp_path: Path, error: Exception, reason: str) -> None:
    with pytest.raises(type(error)), running_job(tmp_path, "Something"):
        raise error
    (seen,) = read_jobs(tmp_path)
    assert (seen.status, seen.error) == ("failed", reason)


def test_a_job_that_was_killed_is_lost(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from itda_core.jobs import running_job\n"
        f"with running_job(Path({str(tmp_path)!r}), 'Something') as job:\n"
        "    job.stage('waiting'); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for(lambda: [job for job in read_jobs(tmp_path) if job.stage == "waiting" and job.status == "running"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (seen,) = read_jobs(tmp_path)
    assert seen.status == "lost"
    assert seen.error


def test_a_detached_job_outlives_its_starter_and_keeps_its_log(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from itda_core.jobs import start_detached\n"
        "arguments = ['build', '/no/model', '--layers', '1', '--corpus', '/none.txt']\n"
        f"print(start_detached(Path({str(tmp_path)!r}), arguments))"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (seen,) = wait_for(lambda: [job for job in read_jobs(tmp_path) if job.status == "failed"])
    assert seen.id == started
    wait_for(lambda: "/none.txt" in read_log(tmp_path, started))
    assert read_log(tmp_path, "../../etc") == ""


def test_a_damaged_state_is_shown_as_such(tmp_path: Path) -> None:
    with running_job(tmp_path, "Something"):
        pass
    (folder,) = [path for path in (tmp_path / "jobs").iterdir() if not path.name.startswith(".")]
    (folder / "state.json").write_text('{"id": 1')
    (seen,) = read_jobs(tmp_path)
    assert seen.status == "failed"
    assert read_jobs(tmp_path / "nowhere") == []


def test_a_mistyped_command_is_known_as_failed(tmp_path: Path) -> None:
    job_id = start_detached(tmp_path, ["frobnicate"])
    (seen,) = wait_for(lambda: [job for job in read_jobs(tmp_path) if job.status == "failed"])
    assert seen.id == job_id
    assert "invalid choice" in (seen.error or "")


def test_a_state_from_a_stranger_is_refused(tmp_path: Path) -> None:
    with running_job(tmp_path, "Something") as job:
        job.stage("building", 10)
    (path,) = (tmp_path / "jobs").glob("*/state.json")
    for key, value in (("rate", "x"), ("growth", [1]), ("done", None), ("finished", 3)):
        said = json.loads(path.read_text())
        path.write_text(json.dumps({**said, key: value}))
        assert read_jobs(tmp_path)[0].title == "unreadable"
        path.write_text(json.dumps({**said, "id": "..", "surprise": 1}))
        assert read_jobs(tmp_path)[0].id == path.parent.name
        path.write_text(json.dumps(said))


def test_readers_do_not_mislead_each_other(tmp_path: Path) -> None:
    with running_job(tmp_path, "Something"):
        pass
    (path,) = (tmp_path / "jobs").glob("*/state.json")
    path.write_text(path.read_text().replace('"done",', '"running",', 1))
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: read_jobs(tmp_path)[0].status, range(400)))
    assert seen.count("lost") >= 396  # a reader may still meet three others in a row
