"""A build that is cut off at any moment, and the same command again: the same dictionary as without."""

import gc
import json
import random
import re
import signal
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from itda_core.build.pipeline import Pipeline
from itda_core.cli.command_line import main
from itda_core.common.files import read_json, sha256_of
from itda_core.common.types import Document
from itda_core.dictionary import checkpoint
from tests.support.places import MODEL_A
from tests.support.processes import run_python

pytestmark = pytest.mark.slow

KILLING = """
import os, signal, sys, threading
import nnsight
from transformers import AutoTokenizer, LlamaForCausalLM  # before the forks, which then need not
from itda_core.build import build, pipeline
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
KILLS = 3


@pytest.fixture
def corpus(tmp_path: Path, language_reference: list[Document]) -> Path:
    path = tmp_path / "reference.jsonl"
    path.write_text("\n".join(json.dumps({"text": document.text}) for document in language_reference))
    return path


def command(library: Path, corpus: Path, *more: str) -> list[str]:
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1,3", "--tokens", "4000", "--no-map"]
    return [*arguments, "--threshold", "0.25", *more, "--library", str(library)]


class CutOff(BaseException):
    """The end of a process, as it is seen from inside: no code waits for it."""


def cut_off(arguments: list[str], after: int) -> int:
    """Run a build that is cut off when it has come a step further so often; how often it did."""
    steps = 0
    advance = Pipeline._advance

    def counted(self: Pipeline, amount: int) -> None:
        nonlocal steps
        advance(self, amount)
        steps += 1
        if steps == after:
            raise CutOff

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SAVE_EVERY", 0.0)
        patch.setattr(Pipeline, "_advance", counted)
        with suppress(CutOff):
            assert main(arguments) == 0
    gc.collect()  # what a process had open is closed when it ends
    return steps


def tables(index: Path) -> dict[str, list[tuple]]:
    with duckdb.connect(str(index), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def check_same(whole: Path, resumed: Path) -> None:
    """Check that two libraries have the same dictionaries, and nothing half-made."""
    folders = [sorted((library / "dictionaries").iterdir()) for library in (whole, resumed)]
    assert [folder.name for folder in folders[0]] == [folder.name for folder in folders[1]]
    for one, other in zip(*folders, strict=True):
        assert sha256_of(one / "atoms.safetensors") == sha256_of(other / "atoms.safetensors")
        assert tables(one / "index.duckdb") == tables(other / "index.duckdb")
        manifests = [read_json(folder / "manifest.json") for folder in (one, other)]
        for manifest in manifests:
            for name in ("seconds", "created", "files", "digest"):  # of the manifest itself
                del manifest[name]
        assert manifests[0] == manifests[1]


@pytest.mark.parametrize(
    "more",
    [(), ("--recipe", "pruned"), ("--keep-activations", "--scan", "batch", "--init", "frequent"), ("--center", "mean")],
)
def test_a_build_that_is_cut_off_goes_on_to_the_same_dictionary(
    tmp_path: Path, corpus: Path, more: tuple[str, ...]
) -> None:
    steps = cut_off(command(tmp_path / "whole", corpus, *more), after=0)
    for after in range(1, steps):
        if cut_off(command(tmp_path / "cut", corpus, *more), after) < after:  # it came to its end
            break
    assert after > 3
    check_same(tmp_path / "whole", tmp_path / "cut")


def test_a_killed_build_goes_on_to_the_same_dictionary(tmp_path: Path, corpus: Path) -> None:
    def builds(library: Path, kill_after: list[float]) -> list[int]:
        """Run a build once for each of these, in processes that are killed after so many seconds; their statuses.

        The last one has no such time, and must end well.
        """
        done = run_python(KILLING, ",".join(map(str, [*kill_after, 0])), *command(library, corpus))
        statuses = [int(line) for line in done.stdout.splitlines() if re.fullmatch(r"-?\d+", line)]
        assert len(statuses) == len(kill_after) + 1 and statuses[-1] == 0, done.stderr
        return statuses

    builds(tmp_path / "whole", [])
    took = read_json(next((tmp_path / "whole" / "dictionaries").iterdir()) / "manifest.json")["seconds"]
    chance = random.Random(0)
    killed = builds(tmp_path / "killed", [took * chance.uniform(0.1, 0.7) for _ in range(KILLS)])
    assert killed[0] == -signal.SIGKILL
    check_same(tmp_path / "whole", tmp_path / "killed")
