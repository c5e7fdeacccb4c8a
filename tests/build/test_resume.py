"""A build that is killed at any moment, and the same command again: the same dictionary as without."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from itda_core.common.files import read_json, sha256_of
from itda_core.common.types import Document
from tests.support.places import MODEL_A

PROGRAM = """
import os, signal, sys, threading
from itda_core.build import pipeline
from itda_core.cli.command_line import main
from itda_core.dictionary import checkpoint

checkpoint.SAVE_EVERY = 0.0
run = pipeline.Pipeline.run

def killed(self):
    after = float(os.environ["KILL_AFTER"])
    if after:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    run(self)

pipeline.Pipeline.run = killed
code = main()
os._exit(code)
"""
KILLS = 5


def build(library: Path, corpus: Path, kill_after: float, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1,3", "--tokens", "6000", "--no-map"]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, "--threshold", "0.25", *more, "--library", str(library)],
        capture_output=True,
        text=True,
        env={**os.environ, "KILL_AFTER": str(kill_after)},
    )


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
    done = build(tmp_path / "whole", corpus, 0, *more)
    assert done.returncode == 0, done.stderr
    took = read_json(next((tmp_path / "whole" / "dictionaries").iterdir()) / "manifest.json")["seconds"]
    chance = random.Random(0)
    killed = [build(tmp_path / "killed", corpus, took * chance.uniform(0.1, 0.7), *more) for _ in range(KILLS)]
    assert killed[0].returncode == -signal.SIGKILL
    done = build(tmp_path / "killed", corpus, 0, *more)
    assert done.returncode == 0, done.stderr
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
