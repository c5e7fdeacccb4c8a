"""The README's command on a Hub model and a Hub dataset, against a loopback server that speaks the Hub's protocol."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import MODEL_A
from hub_server import COMMIT, Hub, serve

from itda_core.types import Document


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    ignore = shutil.ignore_patterns("checkpoints")
    for name in ("open", "gated"):
        shutil.copytree(MODEL_A, folder / "models" / "tests" / name, ignore=ignore)
    (folder / "datasets" / "tests" / "reference").mkdir(parents=True)
    texts = pd.DataFrame({"text": [document.text for document in language_reference]})
    texts.to_parquet(folder / "datasets" / "tests" / "reference" / "train.parquet")
    with serve(folder, gated={"models/tests/gated": "hf_right"}) as served:
        yield served


def build(hub: Hub, home: Path, model: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = ["build", model, "--corpus", "tests/reference", "--layers", "2", "--tokens", "3000", *more]
    return subprocess.run(
        [sys.executable, "-m", "itda_core.cli", *arguments, "--library", str(home / "library"), "--json"],
        capture_output=True,
        text=True,
        env=hub.environment(home / "cache", **environment),
    )


def test_a_model_and_a_dataset_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    done = build(hub, tmp_path, "tests/open")
    assert done.returncode == 0, done.stderr
    (built,) = json.loads(done.stdout)["dictionaries"]
    assert built["model"] == "tests/open"
    assert built["id"].startswith("tests-open-l2-resid-")
    assert built["corpus"].startswith("reference-") or built["corpus"].startswith("tests-reference-")
    manifest = json.loads((tmp_path / "library" / "dictionaries" / built["id"] / "manifest.json").read_text())
    assert manifest["revision"] == COMMIT


def test_a_gated_model(hub: Hub, tmp_path: Path) -> None:
    refused = build(hub, tmp_path, "tests/gated")
    assert refused.returncode == 2
    assert "HF_TOKEN" in refused.stderr.splitlines()[-1]
    allowed = build(hub, tmp_path, "tests/gated", HF_TOKEN="hf_right")
    assert allowed.returncode == 0, allowed.stderr


def test_a_missing_model(hub: Hub, tmp_path: Path) -> None:
    done = build(hub, tmp_path, "tests/none")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("itda: ")
    assert "tests/none" in done.stderr.splitlines()[-1]
