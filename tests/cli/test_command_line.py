"""What a shell and a system do to a command: arguments, names, folders and outputs that cannot be."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from safetensors import SafetensorError

from itda_core.cli.command_line import main, parse
from itda_core.common.disk_errors import place_error, translated_disk_errors, writing
from itda_core.common.errors import PlaceError, UserError
from itda_core.jobs.control import start_detached
from itda_core.jobs.job import running_job
from itda_core.jobs.read import read_jobs

ITDA = f"{sys.executable} -m itda_core.cli"
LONG = "x" * 300


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", line], capture_output=True, env={**os.environ, **environment})


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert line.startswith("itda: ")
    return line


@pytest.mark.parametrize("buffered", ["1", ""])
def test_output_that_cannot_be_written(tmp_path: Path, buffered: str) -> None:
    root = tmp_path / "library"
    with running_job(root, "Something"):
        pass
    command = f"{ITDA} jobs --json --library {root}"
    done = shell(f"{command} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED=buffered)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"", b"")
    assert "cannot be printed: No space left" in one_line(shell(f"{command} > /dev/full", PYTHONUNBUFFERED=buffered))
    assert shell(f"{ITDA} frobnicate > /dev/full 2>&1", PYTHONUNBUFFERED=buffered).returncode == 2


def test_streams_that_are_closed_and_characters_that_they_cannot_show(tmp_path: Path) -> None:
    root = tmp_path / "library"
    with running_job(root, "Über alles – ±"):
        pass
    assert shell(f"{ITDA} jobs --library {root} >&-").returncode == 0
    assert b"done" in shell(f"{ITDA} jobs --library {root} 2>&-").stdout
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert b"\\xdcber alles" in shell(f"{ITDA} jobs --library {root}", **ascii).stdout


def test_arguments_that_are_not_text(tmp_path: Path) -> None:
    root = tmp_path / "library"
    assert r"'x\udce9' is not text" in one_line(shell(f"{ITDA} measure $'x\\xe9' --library {root}"))
    (tmp_path / "é").mkdir()
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "set LC_ALL=C.UTF-8" in one_line(shell(f"{ITDA} import {tmp_path / 'é'} --library {root}", **ascii))
    assert not root.exists()
    for text in ("a\0b", "\ud800"):
        with pytest.raises(UserError, match="is not text"):
            parse(["build", text, "--layers", "1"])
        with pytest.raises(UserError, match="is not text"):
            start_detached(root, ["measure", text])
    assert not root.exists()


def test_whatever_a_job_is_called_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError), running_job(tmp_path, "half \udce9") as job:
        job.stage("reading \udce9\x1b[2J")
        job.say("\ud800")
        raise KeyError("\udce9")
    (seen,) = read_jobs(tmp_path)
    assert (seen.status, seen.title, seen.note) == ("failed", r"half \udce9", r"\ud800")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["jobs"],
        ["verify"],
        ["cancel", "x"],
        ["map", "x"],
        ["measure", "x"],
        ["compare", "x", "y"],
        ["import", "x"],
        ["build", "x", "--layers", "1", "--corpus", "texts.txt"],
    ],
)
@pytest.mark.parametrize("library", [LONG, "file", "loop", "nowhere", "jobs-file", "dictionaries-file", "corpora-file"])
def test_a_library_that_is_none(
    arguments: list[str], library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("texts.txt").write_text("some words\n")
    Path("loop").symlink_to("loop")
    for kind in ("jobs", "dictionaries", "corpora"):
        Path(f"{kind}-file").mkdir()
        Path(f"{kind}-file", kind).touch()
    code = main([*arguments, "--library", library])
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if line.startswith("itda: ")]
    assert (code == 2 and len(lines) == 1) or (code, arguments[0]) in ((0, "list"), (0, "jobs"), (0, "verify")), lines
    assert code == 2 or library not in (LONG, "file")


@pytest.mark.parametrize("place", [LONG, "file/below", "loop/below", "closed\ud800"])
def test_a_place_for_an_export_that_cannot_be(
    place: str, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    dictionary_id = sorted(path.name for path in (library / "dictionaries").iterdir())[0]
    assert main(["export", dictionary_id, "--to", str(tmp_path / place), "--library", str(library)]) == 2
    assert capsys.readouterr().err.count("itda: ") == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk that holds lib is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "lib/a"), "disk that holds lib is full"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "disk that holds /tmp/x is full"),
        (duckdb.IOException('IO Error: Could not write file "a": No space left on device'), "lib is full"),
        (duckdb.OutOfMemoryException("limit was set by the 'max_temp_directory_size' setting"), "lib is full"),
        (SafetensorError("Error while serializing: I/O error: … (os error 28)"), "lib is full"),
        (OSError(errno.EROFS, "Read-only file system", "lib/a"), "may only be read"),
        (PermissionError(errno.EACCES, "Permission denied", "lib/a"), "may not be used by this user"),
        (RuntimeError("cannot cache function '_match': no locator"), "NUMBA_CACHE_DIR"),
        (FileNotFoundError(errno.ENOENT, "No such file", "lib/a"), None),
        (ConnectionResetError(errno.ECONNRESET, "reset"), None),
        (KeyError("a"), None),
        (duckdb.Error("INTERNAL Error"), None),
    ],
)
def test_what_is_the_matter_with_a_disk(error: Exception, expected: str | None) -> None:
    found = place_error(error, Path("lib"))
    assert found is None if expected is None else expected in str(found)
    with pytest.raises(type(error) if expected is None else PlaceError), translated_disk_errors(Path("lib")):
        raise error
    with pytest.raises(PlaceError if isinstance(error, OSError) or expected else type(error)), writing(Path("lib")):
        raise error


def test_a_full_disk_is_told_whatever_was_made_of_it() -> None:
    with pytest.raises(PlaceError, match="lib is full"), translated_disk_errors(Path("lib")):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise UserError("the Hub cannot be reached") from error


def test_a_job_that_could_not_say_why_ends_with_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("reading\r 10 %\ritda: the disk is full\x1b[2J\n")
    os.utime(folder, (0, 0))
    (seen,) = read_jobs(tmp_path)
    assert seen.status == "lost"
    assert "itda: the disk is full" in (seen.error or "") and "\x1b" not in (seen.error or "")


@pytest.mark.parametrize(("own", "expected"), [(None, "passive"), ("active", "active")])
def test_openmp_waits_without_spinning_unless_told_otherwise(tmp_path: Path, own: str | None, expected: str) -> None:
    script = (
        "import os, sys; from itda_core.cli.command_line import main; "
        "assert not {'torch', 'numba'} & set(sys.modules); "  # which read it when they are imported
        f"main(['list', '--library', {str(tmp_path)!r}]); print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if own is None else {"OMP_WAIT_POLICY": own}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1] == expected, done.stderr
