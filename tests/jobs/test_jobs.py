import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from itda_core.cli.command_line import main
from itda_core.common.errors import UserError
from itda_core.common.files import write_sealed
from itda_core.common.types import GrowthPoint
from itda_core.jobs import read
from itda_core.jobs.control import cancel, dismiss, start_detached
from itda_core.jobs.job import running_job
from itda_core.jobs.read import read_jobs, read_log
from itda_core.jobs.state import UNREADABLE, JobState, read_state
from tests.support.places import MODEL_A
from tests.support.processes import run_itda


def wait_for(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def test_what_a_job_says_can_be_read_at_once(tmp_path: Path) -> None:
    with running_job(tmp_path, "Something") as job:
        job.stage("loading")
        job.say("it takes a while")
        (seen,) = read_jobs(tmp_path)
        assert (seen.stage, seen.note) == ("loading", "it takes a while")


def test_a_job_says_how_far_it_is(tmp_path: Path) -> None:
    with running_job(tmp_path, "Something") as job:
        job.stage("building", 100)
        job.advance(25)
        job.grown("some-id", [GrowthPoint(25, 3, 0.5)])
        job.stage("encoding", 10)
        (seen,) = read_jobs(tmp_path)
        assert (seen.status, seen.stage, seen.total) == ("running", "encoding", 10)
        assert seen.growth == {"some-id": [[25, 3, 0.5]]}
        job.finished("some-id")
    (seen,) = read_jobs(tmp_path)
    assert (seen.status, seen.finished, seen.growth) == ("done", ["some-id"], {})


def test_an_ended_job_is_read_again_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        with running_job(tmp_path, f"Job {number}"):
            pass
    assert {job.title for job in read_jobs(tmp_path)} == {f"Job {number}" for number in range(5)}
    parsed = []
    monkeypatch.setattr(read, "read_state", lambda folder: parsed.append(folder) or read_state(folder))
    first = read_jobs(tmp_path)[0]
    assert parsed == []
    first.title = "changed by who asked"
    (tmp_path / "jobs" / first.id / "state.json").write_text("{}")
    assert read_jobs(tmp_path)[0].title == UNREADABLE
    assert parsed == [tmp_path / "jobs" / first.id]


def test_jobs_that_ended_long_ago_are_removed_but_the_newest_and_builds(tmp_path: Path) -> None:
    ids = [f"20260101-0000{number:02d}-{number:06x}" for number in range(6)]
    for job_id in ids:
        with running_job(tmp_path, "Old", job_id):
            pass
        os.utime(tmp_path / "jobs" / job_id / "state.json", (1, 1))
    write_sealed(tmp_path / "jobs" / ids[0] / "command.json", {"arguments": ["build", "docs-a"]})
    os.utime(tmp_path / "jobs" / ids[1] / "state.json")  # ended just now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "_KEPT", 3)
        read.prune_jobs(tmp_path)
    assert [job.id for job in read_jobs(tmp_path)] == [*reversed(ids[3:]), ids[1], ids[0]]


def test_an_ended_job_can_be_dismissed(tmp_path: Path) -> None:
    with running_job(tmp_path, "Build") as job, pytest.raises(UserError, match="is running: cancel it first"):
        dismiss(tmp_path, job.state.id)
    assert not read_jobs(tmp_path)[0].is_dismissed
    dismiss(tmp_path, job.state.id)
    (read,) = read_jobs(tmp_path)
    assert read.is_dismissed and read.status == "done"
    with pytest.raises(UserError, match="no job"):
        dismiss(tmp_path, "../jobs")


def test_a_lost_job_that_is_dismissed_stays_lost(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    os.utime(folder, (0, 0))
    assert read_jobs(tmp_path)[0].status == "lost"
    dismiss(tmp_path, folder.name)
    (job,) = read_jobs(tmp_path)
    assert (job.status, job.is_dismissed) == ("lost", True)


def test_no_terminal_obeys_what_a_job_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_job(tmp_path, "Something") as job:
        job.stage("reading a\x1b]0;b\x07", 1)
        job.say("one\x1b[2Jtwo")
        job.advance(1)
    said = capsys.readouterr().err.replace("\x1b[A", "")  # tqdm's own, one line up
    assert "\x1b" not in said and "\x07" not in said
    assert "reading a\\x1b]0;b\\x07" in said and "one\\x1b[2Jtwo" in said


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
        "import time; from pathlib import Path; from itda_core.jobs.job import running_job\n"
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
        "from pathlib import Path; from itda_core.jobs.control import start_detached\n"
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


# Cancelling


def waiting_job(root: Path, before: str = "pass") -> tuple[subprocess.Popen, JobState]:
    """A job of another process that waits, as its state stands once it runs."""
    code = (
        "import signal, time; from pathlib import Path; from itda_core.jobs.job import running_job\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        f"with running_job(Path({str(root)!r}), 'Something') as job:\n"
        f"    {before}; job.stage('waiting'); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    found = wait_for(lambda: [job for job in read_jobs(root) if job.stage == "waiting" and job.status == "running"])
    return process, found[0]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def long_build(tmp_path: Path) -> tuple[Path, list[str]]:
    """A library, and a build that would take a minute and more."""
    corpus = tmp_path / "corpus.jsonl"
    words = Path(__file__).read_text().split()
    lines = [json.dumps({"text": " ".join(words[at % 500 : at % 500 + 300])}) for at in range(2_000)]
    corpus.write_text("\n".join(lines))
    options = ["--layers", "0-5", "--tokens", "200000", "--l0", "8"]
    return tmp_path / "library", ["build", str(MODEL_A), "--corpus", str(corpus), "--no-map", *options]


@pytest.mark.slow
def test_a_running_build_is_listed_and_cancelled(tmp_path: Path) -> None:
    root, arguments = long_build(tmp_path)
    job_id = start_detached(root, arguments)
    where = ["--library", str(root)]
    (seen,) = wait_for(lambda: [job for job in read_jobs(root) if job.stage == "building" and job.rate], 240)
    assert seen.pid is not None
    assert seen.arguments == arguments
    (listed,) = json.loads(run_itda("jobs", "--json", *where).stdout)["jobs"]
    told = ["id", "title", "status", "stage", "done", "total", "unit", "rate", "started", "error"]
    assert list(listed) == told
    assert (listed["id"], listed["status"], listed["stage"], listed["error"]) == (job_id, "running", "building", None)
    assert 0 < listed["done"] < listed["total"]
    assert re.search(rf"{job_id}  running .*building.* a second", run_itda("jobs", *where).stdout)
    done = run_itda("cancel", job_id, *where)
    assert (done.returncode, done.stdout) == (0, f"{job_id} is cancelled\n"), done.stderr
    assert not is_running(seen.pid)
    (seen,) = read_jobs(root)
    assert (seen.status, seen.error) == ("cancelled", None)
    # What was done stays beside, for the same build to go on from.
    assert all(path.name.endswith((".part", ".scratch")) for path in (root / "dictionaries").iterdir())
    assert "interrupted" in read_log(root, job_id)
    again = run_itda("cancel", job_id, *where)
    assert again.returncode == 2
    assert again.stderr == f"itda: job {job_id} is not running: it is cancelled\n"


def test_a_job_can_be_cancelled_before_its_first_word(tmp_path: Path) -> None:
    root, arguments = long_build(tmp_path)
    job_id = start_detached(root, arguments)
    assert cancel(root, job_id).status == "cancelled"
    assert [job.status for job in read_jobs(root)] == ["cancelled"]


def test_a_job_that_does_not_end_is_killed_and_says_so(tmp_path: Path) -> None:
    process, seen = waiting_job(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    state = cancel(tmp_path, seen.id, patience=0.5)
    assert process.wait(5) in (-signal.SIGKILL, 0)  # 0: it was waited for by the one that cancelled
    assert state.status == "cancelled"
    assert state.error == "it did not end within 0.5 seconds and was killed"
    assert read_jobs(tmp_path) == [state]


def test_a_stranger_that_has_the_number_now_is_left_alone(tmp_path: Path) -> None:
    process, seen = waiting_job(tmp_path)
    process.kill()
    process.wait()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    path = tmp_path / "jobs" / seen.id / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": stranger.pid}))
    with pytest.raises(UserError, match="not running: it is lost"):
        cancel(tmp_path, seen.id)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_job_of_another_machine_is_left_to_it(tmp_path: Path) -> None:
    process, seen = waiting_job(tmp_path)
    path = tmp_path / "jobs" / seen.id / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "far-away"}))
    done = run_itda("cancel", seen.id, "--library", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"itda: job {seen.id} runs on another machine, far-away: cancel it there\n"
    assert process.poll() is None
    process.terminate()
    process.wait()
    assert read_jobs(tmp_path)[0].status == "cancelled"  # to be told to stop from elsewhere is the same


@pytest.mark.parametrize("job_id", ["nothing-here", "../library", "", ".locks"])
def test_an_unknown_job_is_refused(tmp_path: Path, job_id: str) -> None:
    with running_job(tmp_path, "Something"):
        pass
    with pytest.raises(UserError, match="no job"):
        cancel(tmp_path, job_id)


def test_jobs_of_a_library_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--library", str(tmp_path / "none")]
    assert main(["jobs", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": []}
    assert main(["jobs", *where]) == 0
    assert "no jobs yet" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_a_failed_job_is_listed_with_its_reason_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError), running_job(tmp_path, "Build \x1b[31m\nred"):
        raise UserError("mend it")
    assert main(["jobs", "--library", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert "failed" in out and "mend it" in out


def test_the_command_of_a_job_outlives_its_state(tmp_path: Path) -> None:
    job_id = start_detached(tmp_path, ["frobnicate"])
    wait_for(lambda: [job for job in read_jobs(tmp_path) if job.status == "failed"])
    assert read_jobs(tmp_path)[0].arguments == ["frobnicate"]
    command = tmp_path / "jobs" / job_id / "command.json"
    for said in ('{"a": 1}', "[1]", "["):
        command.write_text(said)
        assert read_jobs(tmp_path)[0].arguments == []
    shutil.rmtree(tmp_path / "jobs")
