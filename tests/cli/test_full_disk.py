"""A disk that is full: one line, the reason is kept, and the same command then goes on to the same bytes.

`ITDA_DISK_LEVELS=1` tries every stage at every level.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from itda_core.cli.command_line import main
from itda_core.common.types import Codes, Document
from itda_core.index.writer import IndexWriter
from itda_core.jobs.read import read_jobs
from itda_core.library.library import Library
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A, REPOSITORY
from tests.support.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.slow

STAGES = {
    "start": "",
    "corpus": "itda_core.corpus.store:_write_documents",
    "tokens": "itda_core.corpus.token_table:TokenTable.of",
    "part": "itda_core.build.pipeline:Pipeline._part",
    "checkpoint": "itda_core.dictionary.checkpoint:Checkpoint.save",
    "staging": "itda_core.index.writer:_create_staging",
    "codes": "itda_core.index.writer:IndexWriter.add",
    "index": "itda_core.index.writer:IndexWriter.write",
    "atoms": "itda_core.dictionary.dictionary:Dictionary.write_atoms",
    "manifest": "itda_core.build.pipeline:Pipeline._write_manifest",
}
LEVELS = (0, 4, 16, 64, 128, 200, 268, 400, 1000)
FEW = [("start", 0), ("corpus", 16), ("checkpoint", 0), ("staging", 16), ("staging", 268), ("index", 128)]
TRIED = [(stage, free) for stage in STAGES for free in LEVELS] if os.environ.get("ITDA_DISK_LEVELS") else FEW
FULL = "is full: free some space and run the same command again; what was done is kept"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("disk") / "small", "32m") as disk:
        yield disk


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> list[str]:
    corpus = tmp_path_factory.mktemp("texts") / "reference.jsonl"
    write_documents(corpus, language_reference)
    options = ["--layers", "3", "--l0", "4", "--tokens", "1500", "--max-atoms", "7"]  # too few for a map
    return ["build", str(MODEL_A), "--corpus", str(corpus), *options]


def built(root: Path) -> tuple:
    """All of a library's one dictionary but what differs from run to run."""
    (folder,) = (root / "dictionaries").iterdir()
    with duckdb.connect(str(folder / "index.duckdb"), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        tables = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in sorted(names)}
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("seconds", "created", "files", "digest"):  # of the manifest itself
        del manifest[name]
    return folder.name, (folder / "atoms.safetensors").read_bytes(), tables, manifest


@pytest.fixture(scope="module")
def whole(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple:
    root = tmp_path_factory.mktemp("whole") / "library"
    assert main([*command, "--library", str(root)]) == 0
    return built(root)


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if line.startswith("itda: ")]


@pytest.mark.parametrize(("stage", "free"), TRIED)
def test_a_build_on_a_full_disk_is_told_and_goes_on(
    stage: str, free: int, disk: SmallDisk, command: list[str], whole: tuple, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.clear()
    root = disk.root / "library"
    capsys.readouterr()
    with disk.filled_at(STAGES[stage], free << 10):
        code = main([*command, "--library", str(root)])
        lines, jobs = told(capsys), read_jobs(root)
    if os.environ.get("ITDA_DISK_LEVELS"):
        print(f"| {stage} | {free} kB | {code} | {lines} | {[(job.status, job.error) for job in jobs]} |")
    if code == 0:
        assert (stage, free) not in FEW, "so much would have been room enough"
    else:
        assert (code, lines) == (2, [f"itda: the disk that holds {root} {FULL}"])
        # A job that could not begin is none; of any other the reason is kept, however full the disk is.
        assert [(job.status, job.error) for job in jobs] in ([], [("failed", lines[0].removeprefix("itda: "))])
    assert jobs or stage == "start"
    assert main([*command, "--library", str(root)]) == 0
    assert built(root) == whole
    assert not [path for path in root.rglob(".*") if path.name != ".locks"]


def batch(number: int) -> tuple[np.ndarray, Codes, np.ndarray, np.ndarray]:
    tokens, l0 = 2000, 20
    generator = np.random.default_rng(number)
    codes = Codes(
        np.repeat(np.arange(tokens), l0),
        generator.integers(0, 5000, tokens * l0),
        generator.normal(size=tokens * l0).astype(np.float32),
    )
    errors = generator.random(tokens).astype(np.float32)
    return np.arange(tokens) + number * tokens, codes, errors, np.ones(tokens, np.float32)


@pytest.mark.parametrize("free", [6000, 17000] if not os.environ.get("ITDA_DISK_LEVELS") else range(300, 24000, 1100))
def test_batches_that_were_added_stay_whatever_the_disk_holds(free: int, disk: SmallDisk) -> None:
    disk.clear()
    disk.fill(free << 10)
    program = (
        "from pathlib import Path\n"
        "from itda_core.index.writer import IndexWriter\n"
        "from tests.cli.test_full_disk import batch\n"
        f"writer = IndexWriter(Path({str(disk.root / 'staging.duckdb')!r}))\n"
        "while True:\n"
        "    writer.add(*batch(writer.batches)); print(writer.batches, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert "No space left on device" in done.stderr
    added = done.stdout.split()
    disk.relieve()
    writer = IndexWriter(disk.root / "staging.duckdb")
    # A batch whose own writing was cut short by the checkpoint after it is in too.
    assert writer.batches in (len(added), len(added) + 1)
    assert writer.n_tokens == 2000 * writer.batches
    writer.add(*batch(writer.batches))
    writer.close()


COMMANDS = [
    (["compare", "A", "B"], "itda_core.comparison.compare:_measure"),
    (["map", "A"], "itda_core.build.build:compute_map"),
    *(
        (["export", "A", "--format", form, "--to", "OUT"], "itda_core.interop.exporter:open_exported")
        for form in ("published", "parquet", "safetensors", "saelens")
    ),
    (["import", "FOLDER"], "itda_core.interop.importer:import_folder"),
]
SLOW = [
    (["measure", "A", "--tokens", "300"], "itda_core.evaluation.evaluate:write_quality"),
    (["sae", "A", "--tokens", "4096", "--batch", "1024"], "itda_core.evaluation.sae.run:save_sae"),
    (["transplant", "A", "B"], "itda_core.comparison.transplant:_write"),
    (["similarity", "A", "B", "--tokens", "600"], "itda_core.comparison.layers:write_sealed"),
]


@pytest.mark.parametrize(("arguments", "stage"), COMMANDS + (SLOW if os.environ.get("ITDA_DISK_LEVELS") else []))
def test_every_command_tells_of_a_full_disk(
    arguments: list[str], stage: str, disk: SmallDisk, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.clear()
    root = Path(shutil.copytree(library, disk.root / "library"))
    a, _, b = Library(root).ids()
    (root / "dictionaries" / a / "map.parquet").unlink()
    known = {"A": a, "B": b, "OUT": str(disk.root / "out"), "FOLDER": str(root / "dictionaries" / a)}
    to = disk.root / "other" if arguments[0] == "import" else root
    given = [*(known.get(each, each) for each in arguments), "--library", str(to)]
    capsys.readouterr()
    with disk.filled_at(stage, 0):
        code = main(given)
        lines = told(capsys)
        assert (code, len(lines)) == (2, 1)
        assert lines[0].startswith("itda: the disk that holds ") and lines[0].endswith(FULL)
        assert read_jobs(to)[0].status == "failed"
        assert read_jobs(to)[0].error == lines[0].removeprefix("itda: ")
    assert main(given) == 0
    assert not [path for path in disk.root.rglob(".*") if path.name != ".locks"]
