"""Capture from a model on a server: the same activations as here, whatever fails on the way.

Both servers are real ones on the loopback interface: the Hub, from which configuration and tokenizer come, and in a
process of its own the one that runs the model.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from itda_core.common.types import Document
from tests.support.hub_server import serve
from tests.support.places import MODEL_A, REPOSITORY
from tests.support.processes import run_python, start_python

NAME, KEY = "tests/docs-a", "a-key-that-nobody-may-see"
SERVER = REPOSITORY / "tests" / "support" / "ndif_server.py"

CAPTURE = """
import json, sys
from pathlib import Path
import httpx
from itda_core.capture import remote
from itda_core.capture.local import Capture
from itda_core.common.settings import WindowSettings
from itda_core.models.model import load_model, load_outline
from itda_core.capture.store import pack, record_activations
from itda_core.common.types import Document, Site; from itda_core.common.errors import UserError
from itda_core.corpus.windows import make_windows

corpus, model, root, server, runs = sys.argv[1:]
documents = [Document("", json.loads(line)["text"]) for line in Path(corpus).read_text().splitlines()[:24]]
sites = [Site(3, "mlp"), Site(1), Site(1, "attn")]
settings = remote.RemoteSettings(
    in_flight=3, attempts=4, first_wait=0.01, poll_every=0.02, silent_after=1.5, queued_for=2.5, unknown_after=0.5
)

def windows(of):
    return lambda: make_windows(documents, of.tokenizer, WindowSettings(32), 600)

def names(folder):
    return sorted(path.name for path in folder.glob("shard-*"))

near, far = load_model(model, device="cpu"), load_outline("tests/docs-a")
capture = Capture(near, sites, windows(near), 4)
record_activations(lambda first: map(pack, capture.batches(first)), Path(root, "near"))
found = {"near": names(Path(root, "near")), "runs": []}
for number, faults in enumerate(json.loads(runs)):
    httpx.post(server + "/faults", json=faults, headers={"ndif-api-key": "x"})
    said, tries, folder = [], [], Path(root, f"far-{number}")
    folder.mkdir()
    for _ in range(2):
        captured = remote.RemoteCapture(far, sites, windows(far), 4, folder / "jobs.json", settings, said.append)
        try:
            record_activations(captured.packed, folder)
            tries.append(None)
            break
        except UserError as error:
            tries.append(str(error))
            found.setdefault("kept", {})[number] = len(names(folder))
    ledger = (folder / "jobs.json").exists()
    found["runs"].append({"said": said, "tries": tries, "names": names(folder), "ledger": ledger})
print(json.dumps(found))
"""
BUILD = """
import sys
from functools import partial
from itda_core.capture import remote
from itda_core.cli.command_line import main
remote.RemoteSettings = partial(remote.RemoteSettings, attempts=3, first_wait=0.05, poll_every=0.05)
sys.exit(main())
"""


class Far:
    """The two servers, and processes that take them for the Hub and for NDIF."""

    def __init__(self, folder: Path, hub: Any, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.corpus = folder / "reference.jsonl"
        # A key as it comes out of a file, with the end of its line.
        self._environment = hub.environment(folder / "cache", NDIF_HOST=self.url, NDIF_API_KEY=f"{KEY}\n")

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_python(program, *arguments, env={**self._environment, **environment})

    def start(self, program: str, *arguments: str) -> BaseProcess:
        return start_python(program, *arguments, env=self._environment)

    def build(self, library: Path, *more: str) -> tuple[str, ...]:
        arguments = ("build", NAME, "--remote", "--corpus", str(self.corpus), "--layers", "1,3", "--tokens", "4000")
        return (*arguments, "--no-map", "--threshold", "0.25", "--context", "64", *more, "--library", str(library))

    @property
    def accepted(self) -> int:
        return httpx.get(f"{self.url}/state").json()["accepted"]


@contextmanager
def running_server(port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(port), f"{NAME}={MODEL_A}"], env={**os.environ, "SERVER_KEY": KEY}
    )
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/status")
                break
            except httpx.TransportError:
                assert process.poll() is None
                time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    served = folder / "hub" / "models" / NAME
    ignore = shutil.ignore_patterns("checkpoints", "*.safetensors")  # no weights: they are not needed here
    shutil.copytree(MODEL_A, served, ignore=ignore)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serve(folder / "hub") as hub, running_server(port):
        made = Far(folder, hub, port)
        made.corpus.write_text("\n".join(json.dumps({"text": document.text}) for document in language_reference))
        yield made


# What goes wrong, what is said of it, and whether the first call ends with an error line and a second goes on.
RUNS_VARIABLE = "ITDA_FAULT_RUNS"
"""How often each fault is tried, for who wants to be sure."""
FAULTS: list[tuple[list[dict[str, str]], str, bool]] = [
    ([], "", False),
    ([{"at": "request", "kind": "drop"}], "the line to", False),
    ([{"at": "poll", "kind": "drop"}], "the line to", False),
    ([{"at": "result", "kind": "drop"}], "the line to", False),
    ([{"at": "result", "kind": "cut"}], "cut short", False),
    ([{"at": "request", "kind": "429"}], "answers 429", False),
    ([{"at": "request", "kind": "500"}, {"at": "poll", "kind": "500"}], "answers 500", False),
    ([{"at": "poll", "kind": "503"}, {"at": "result", "kind": "503"}], "answers 503", False),
    ([{"at": "run", "kind": "stall"}], "no news", False),
    ([{"at": "run", "kind": "CUDA out of memory"}], "CUDA out of memory", False),
    ([{"at": "run", "kind": "it fails"}] * 6, "it fails: gave up after 4 tries", True),
    ([{"at": "request", "kind": "503"}] * 4, "gave up after 4 tries", True),
    ([{"at": "poll", "kind": "401"}], "check NDIF_API_KEY", True),
    ([{"at": "request", "kind": "403"}], "check NDIF_API_KEY", True),
    ([{"at": "request", "kind": "404"}], "does not run tests/docs-a", True),
    ([{"at": "poll", "kind": "403"}], "answers 403 for job", False),
    ([{"at": "result", "kind": "410"}], "answers 410 for job", False),
    ([{"at": "result", "kind": "cut"}] * 3, "cut short", False),
]


def test_faults_cost_time_and_nothing_else(far: Far, tmp_path: Path) -> None:
    cases = FAULTS * int(os.environ.get(RUNS_VARIABLE, "1"))
    runs = json.dumps([faults for faults, _, _ in cases])
    done = far.run(CAPTURE, str(far.corpus), str(MODEL_A), str(tmp_path), far.url, runs)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["near"]) == 5
    for (faults, line, ends), run in zip(cases, found["runs"], strict=True):
        assert run["names"] == found["near"], faults  # names carry checksums: the same bytes as captured here
        said = [*run["said"], *filter(None, run["tries"])]  # nothing, where every job was done when it was asked for
        assert not faults or any(line in each for each in said), (faults, run)
        assert len(run["tries"]) == (2 if ends else 1), (faults, run)
        assert not run["ledger"]
    assert KEY not in done.stdout + done.stderr


def test_a_build_from_far_is_the_build_from_here(far: Far, tmp_path: Path) -> None:
    done = far.run(BUILD, *far.build(tmp_path / "far", "--json"))
    assert done.returncode == 0, done.stderr
    assert "MB to be transferred" in done.stderr
    near = [argument if argument != NAME else str(MODEL_A) for argument in far.build(tmp_path / "near", "--json")]
    near.remove("--remote")
    here = far.run(BUILD, *near, "--keep-activations", "--device", "cpu")
    assert here.returncode == 0, here.stderr
    names = ("far", "near")
    atoms = [sorted((tmp_path / name / "dictionaries").glob("*/atoms.safetensors")) for name in names]
    assert len(atoms[0]) == 2
    for a, b in zip(*atoms, strict=True):
        assert a.read_bytes() == b.read_bytes()
    manifest = json.loads((atoms[0][0].parent / "manifest.json").read_text())
    assert (manifest["model"], manifest["weights_sha256"], manifest["dtype"]) == (NAME, None, "remote")
    for path in (tmp_path / "far").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_after_a_crash_jobs_are_asked_for_again_and_not_run_again(far: Far, tmp_path: Path) -> None:
    before = far.accepted
    killed = far.start(BUILD, *far.build(tmp_path))
    ledger = None
    while ledger is None or len(json.loads(ledger.read_text())) < 3:
        assert killed.is_alive()
        time.sleep(0.01)
        ledger = next(tmp_path.glob("activations/*/jobs.json"), None)
    killed.kill()
    killed.join()
    done = far.run(BUILD, *far.build(tmp_path))
    assert done.returncode == 0, done.stderr
    shards = len(list(tmp_path.glob("activations/*/shard-*")))
    assert far.accepted - before <= shards + 1  # one may have been on its way to the ledger


def test_a_server_that_is_not_there(far: Far, tmp_path: Path) -> None:
    done = far.run(BUILD, *far.build(tmp_path), NDIF_HOST="http://127.0.0.1:1")
    assert done.returncode == 2
    assert "gave up after 3 tries" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_remote_needs_and_does_not_take(far: Far, tmp_path: Path) -> None:
    done = far.run(BUILD, *far.build(tmp_path), NDIF_API_KEY="")
    assert done.returncode == 2
    assert "NDIF_API_KEY" in done.stderr.splitlines()[-1]
    done = far.run(BUILD, *far.build(tmp_path), NDIF_API_KEY="kéy-of-nobody")
    assert done.returncode == 2
    assert "NDIF_API_KEY" in done.stderr.splitlines()[-1]
    assert "kéy" not in done.stdout + done.stderr
    done = far.run(BUILD, *far.build(tmp_path, "--dtype", "bfloat16"))
    assert done.returncode == 2
    assert "--dtype" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(
    "ITDA_LIVE_NDIF" not in os.environ, reason="runs on NDIF: set ITDA_LIVE_NDIF=MODEL and NDIF_API_KEY"
)
def test_the_real_server(far: Far, tmp_path: Path) -> None:
    arguments = ("build", os.environ["ITDA_LIVE_NDIF"], "--remote", "--corpus", str(far.corpus), "--layers", "1")
    command = [sys.executable, "-m", "itda_core.cli", *arguments, "--tokens", "1000", "--library", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
