"""What a killed process leaves, nothing for long, and who may read what is written: whom the umask lets."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from itda_core.cli.command_line import main
from itda_core.common.files import place_folder, write_json, written_whole
from itda_core.common.parts import clear_library, clear_parts, part_beside
from itda_core.common.types import Document
from itda_core.comparison import matching  # noqa: F401 - what it compiles is kept where another user could not
from itda_core.jobs.job import running_job
from itda_core.jobs.read import read_jobs
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A


def killed(code: str, is_there) -> None:
    """Run a program and kill it once something is there."""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def dotted(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if path.name != ".locks"]


def test_what_a_killed_job_was_writing_is_cleared_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(5000)))
    root = tmp_path / "library"
    code = f"""
import time
from pathlib import Path
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.corpus.store import ingest
from itda_core.common.files import written_whole
from itda_core.jobs.job import running_job
settings = CorpusSettings({str(tmp_path / "texts.jsonl")!r})
root = Path({str(root)!r})
with running_job(root, "Killed") as job, written_whole(job._folder / "state.json") as part:
    part.write_text("half")
    ingest(settings, WindowSettings(), root / "corpora", lambda n: time.sleep(100))
"""
    killed(code, lambda: list(root.glob("corpora/.ingest.*/documents.parquet")))
    left = {path.name.split(".")[1] for path in dotted(root)}
    assert left == {"state", "ingest", "reserve"}
    with running_job(root, "Next"):
        assert [path.name.split(".")[1] for path in dotted(root)] == ["reserve"]  # its own
    assert dotted(root) == []
    assert sorted(job.status for job in read_jobs(root)) == ["done", "lost"]


def test_nothing_that_a_living_process_makes_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "one"
    folder.mkdir(parents=True)
    with part_beside(folder / "state.json") as file, part_beside(tmp_path / "corpora", Path.mkdir) as made:
        code = "from pathlib import Path; from itda_core.common.parts import *\n"
        code += f"clear_library(Path({str(tmp_path)!r}))\n"
        code += f"clear_parts(Path({str(tmp_path)!r}))"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert file.exists() and made.exists()
    assert not file.exists() and not made.exists()


def test_what_is_no_part_or_lies_behind_a_link_is_left(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "library"
    for folder in (outside / "one", root / "jobs" / "one"):
        folder.mkdir(parents=True)
    kept = [outside / f".a.{'0' * 32}", outside / "one" / f".a.{'0' * 32}", root / "jobs" / "one" / ".hidden"]
    for path in kept:
        path.touch()
    (root / "dictionaries").symlink_to(outside)
    (root / "jobs" / "two").symlink_to(outside)
    (root / "jobs" / f".a.{'0' * 32}").symlink_to(kept[0])
    os.mkfifo(root / "jobs" / "one" / f".pipe.{'0' * 32}")
    clear_library(root)
    assert all(path.exists() for path in kept)
    clear_parts(tmp_path / "nowhere")


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_files_get_the_mode_that_the_umask_gives(tmp_path: Path, mask: int) -> None:
    from safetensors.torch import save_file

    before = os.umask(mask)
    try:
        with written_whole(tmp_path / "a.safetensors") as part:
            save_file({"a": torch.zeros(3)}, part)
        write_json(tmp_path / "a.json", {})
        (tmp_path / "part").mkdir()
        save_file({"a": torch.zeros(3)}, tmp_path / "part" / "b.safetensors")
        place_folder(tmp_path / "part", tmp_path / "folder")
    finally:
        os.umask(before)
    for name in ("a.safetensors", "a.json", "folder/b.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask, name


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that any user may enter, which those of pytest are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def another_user() -> Iterator[None]:
    """Be a user that owns nothing."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_all_of_a_library_can_be_read_by_others(open_to_all: Path, language_reference: list[Document]) -> None:
    corpus = open_to_all / "texts.jsonl"
    write_documents(corpus, language_reference)
    root = open_to_all / "library"
    options = ["--layers", "1", "--l0", "4", "--tokens", "1500", "--max-atoms", "7", "--keep-activations"]
    before = os.umask(0o022)
    try:
        assert main(["build", str(MODEL_A), "--corpus", str(corpus), *options, "--library", str(root)]) == 0
    finally:
        os.umask(before)
    assert list(root.glob("activations/*/shard-*"))
    assert [path for path in root.rglob("*") if not path.stat().st_mode & stat.S_IROTH] == []
    with another_user():
        assert main(["verify", "--library", str(root)]) == 0


@pytest.mark.parametrize("closed", ["jobs", "dictionaries", "dictionaries/ID", "corpora", ""])
@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_folder_without_permission_is_told_in_one_line(
    open_to_all: Path, library: Path, closed: str, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(library, open_to_all / "library"))
    a, b = sorted(path.name for path in (root / "dictionaries").iterdir())[:2]
    for path in (root, *root.rglob("*")):
        path.chmod(0o777)
    place = root / closed.replace("ID", a)
    place.chmod(mode)
    out = open_to_all / "out"
    for arguments in (
        ["list"],
        ["jobs"],
        ["map", a],
        ["compare", a, b],
        ["export", a, "--to", str(out)],
        ["build", str(MODEL_A), "--layers", "1", "--corpus", "/no/such/text.txt"],
    ):
        capsys.readouterr()
        with another_user():
            code = main([*arguments, "--library", str(root)])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("itda: ")]
        assert code in (0, 2), arguments
        assert code == 0 or len(lines) == 1, lines
    assert not out.exists()
