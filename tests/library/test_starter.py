"""The dictionary that ships with the project: sound, complete, and copied whole into a library."""

import os
import shutil
from pathlib import Path

import pytest

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import sha256_of
from itda_core.corpus.store import Corpus
from itda_core.library import starter
from itda_core.library.library import Library
from itda_core.queries.atoms import Index
from tests.support.places import REPOSITORY


def test_it_is_whole_and_of_moderate_size() -> None:
    shipped = Library(starter.STARTER)
    (found,) = starter.starter_ids()
    record = shipped.record(found)
    assert list(shipped.verify(found)) == []
    assert record.model.startswith("SmolLM2") and record.settings.center == "mean" and record.n_atoms > 1_000
    dictionary = Dictionary.load(shipped.folder(found))
    assert dictionary.mean.any() and len(dictionary) == record.n_atoms
    index = Index(shipped.index_path(found))
    try:
        index.check()
    finally:
        index.close()
    assert Corpus.open(shipped.corpus_folder(record)).n_documents > 100
    assert shipped.map_path(found).is_file()
    size = sum(path.stat().st_size for path in starter.STARTER.rglob("*") if path.is_file())
    assert size < 40e6 and str(REPOSITORY).encode() not in (shipped.folder(found) / "manifest.json").read_bytes()


def test_it_is_copied_once_and_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = Library(tmp_path / "library")
    ids = starter.add_starter(library)
    assert library.ids() == ids and len(ids) == 1
    before = (library.folder(ids[0]) / "manifest.json").stat().st_mtime_ns
    assert starter.add_starter(library) == ids
    assert (library.folder(ids[0]) / "manifest.json").stat().st_mtime_ns == before
    assert main(["verify", "--library", str(library.root)]) == 0
    assert not [path.name for path in library.dictionaries.iterdir() if path.name.startswith(".")]


def test_a_damaged_one_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(starter.STARTER, tmp_path / "shipped")
    monkeypatch.setattr(starter, "STARTER", tmp_path / "shipped")
    (index,) = (tmp_path / "shipped").rglob("index.duckdb")
    sound = sha256_of(index)
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    assert sha256_of(index) != sound
    with pytest.raises(DamagedError, match="clone it again"):
        starter.add_starter(Library(tmp_path / "library"))
    assert Library(tmp_path / "library").ids() == []


def test_without_it_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "STARTER", tmp_path / "nothing")
    assert starter.starter_ids() == [] and starter.add_starter(Library(tmp_path / "library")) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_library_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError):
        starter.add_starter(Library(tmp_path / "library"))
