"""A build that is killed at any moment, and the same command again: the same dictionary as without."""

import json
import random
import re
import signal
from pathlib import Path

import duckdb
import pytest

from itda_core.common.files import read_json, sha256_of
from itda_core.common.types import Document
from tests.support.places import MODEL_A
from tests.support.processes import run_python

pytestmark = pytest.mark.slow

PROGRAM = """
import os, signal, sys, threading
from itda_core.build import build, pipeline  # before the forks, which then need not
from itda_core.cli.command_line import main
from itda_core.dictionary import checkpoint

checkpoint.SAVE_EVERY = 0.0
run = pipeline.Pipeline.run
kills, *arguments = sys.argv[1:]

def killed(self):
    if after:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    run(self)

pipeline.Pipeline.run = killed
for after in map(float, kills.split(",")):
    child = os.fork()
    if not child:
        os._exit(main(arguments))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
KILLS = 5


def builds(library: Path, corpus: Path, kill_after: list[float], *more: str) -> list[int]:
    """Run a build once for each of these, in processes that are killed after so many seconds; their statuses.

    The last one has no such time, and must end well.
    """
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1,3", "--tokens", "4000", "--no-map"]
    where = ["--threshold", "0.25", *more, "--library", str(library)]
    done = run_python(PROGRAM, ",".join(map(str, [*kill_after, 0])), *arguments, *where)
    statuses = [int(line) for line in done.stdout.splitlines() if re.fullmatch(r"-?\d+", line)]
    assert len(statuses) == len(kill_after) + 1 and statuses[-1] == 0, done.stderr
    return statuses


def tables(index: Path) -> dict[str, list[tuple]]:
    with duckdb.connect(str(index), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}


@pytest.mark.parametrize(
    "more",
    [(), ("--recipe", "pruned"), ("--keep-activations", "--scan", "batch", "--init", "frequent"), ("--center", "mean")],
)
def test_a_killed_build_goes_on_to_the_same_dictionary(
    tmp_path: Path, language_reference: list[Document], more: tuple[str, ...]
) -> None:
    corpus = tmp_path / "reference.jsonl"
    corpus.write_text("\n".join(json.dumps({"text": document.text}) for document in language_reference))
    builds(tmp_path / "whole", corpus, [], *more)
    took = read_json(next((tmp_path / "whole" / "dictionaries").iterdir()) / "manifest.json")["seconds"]
    chance = random.Random(0)
    times = [took * chance.uniform(0.1, 0.7) for _ in range(KILLS)]
    killed = builds(tmp_path / "killed", corpus, times, *more)
    assert killed[0] == -signal.SIGKILL
    folders = [sorted((tmp_path / name / "dictionaries").iterdir()) for name in ("whole", "killed")]
    assert [folder.name for folder in folders[0]] == [folder.name for folder in folders[1]]  # and nothing half-made
    for whole, resumed in zip(*folders, strict=True):
        assert sha256_of(whole / "atoms.safetensors") == sha256_of(resumed / "atoms.safetensors")
        assert tables(whole / "index.duckdb") == tables(resumed / "index.duckdb")
        manifests = [read_json(folder / "manifest.json") for folder in (whole, resumed)]
        for manifest in manifests:
            for name in ("seconds", "created", "files", "digest"):  # of the manifest itself
                del manifest[name]
        assert manifests[0] == manifests[1]
