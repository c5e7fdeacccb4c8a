"""Numbers of formats are read: what is newer is said to be newer and never to be deleted, what is none is damage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from itda_core import Dictionary
from itda_core.capture.replay import kept_activations
from itda_core.cli.command_line import main
from itda_core.cli.verify import verify_library
from itda_core.common.errors import DamagedError, NewerError, UserError
from itda_core.common.validate import check_format
from itda_core.comparison.transplant import transplant
from itda_core.corpus.store import Corpus
from itda_core.interop.copy import adopt
from itda_core.interop.importer import read_any
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.library.manifest import FORMAT as DICTIONARY_FORMAT
from itda_core.library.manifest import InvalidDictionary
from itda_core.reports.comparison import read_comparison
from itda_core.reports.layers import read_layers
from itda_core.reports.probing import read_probing
from itda_core.reports.quality import dictionary_quality
from itda_core.reports.sae import sae_record
from itda_core.reports.transplant import read_transplant
from tests.support.small_library import ID
from tests.support.whole_library import OTHER, SAE, files_of, whole_library

READERS: dict[str, Callable[[Library], Any]] = {
    "dictionary manifest": lambda library: library.record(ID),
    "corpus manifest": lambda library: Corpus.open(next(library.corpora.iterdir())),
    "quality report": lambda library: dictionary_quality(library, library.record(ID)),
    "probing report": lambda library: read_probing(library.record(ID), library.folder(ID)),
    "comparison": lambda library: read_comparison(library, library.record(ID), library.record(OTHER)),
    "transplant": lambda library: read_transplant(library, library.record(ID), library.record(OTHER)),
    "layers report": lambda library: read_layers(library, library.record(ID), library.record(OTHER)),
    "SAE record": lambda library: sae_record(library, SAE),
    "shards' manifest": lambda library: kept_activations(library, library.record(ID)),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return whole_library(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", READERS)
def test_a_newer_file_is_said_to_be_newer_and_kept(library: Library, kind: str) -> None:
    path, read = files_of(library)[kind], READERS[kind]
    sound = path.read_text()
    said = json.loads(sound)
    name = "format" if "format" in said else "version"
    assert read(library) is not None
    try:
        latest = DICTIONARY_FORMAT if kind == "dictionary manifest" else said[name]
        for value in (latest + 1, 99, 2**63 - 1):
            path.write_text(json.dumps(said | {name: value}))
            with pytest.raises(NewerError, match="update ITDA Explorer") as caught:
                read(library)
            assert "delete" not in str(caught.value) and "\n" not in str(caught.value)
            told = [line for lines in verify_library(library).values() for line in lines]
            assert [line for line in told if "update ITDA Explorer" in line]
        for value in ("x", True, -1, 1.5, -(10**400), [], None):
            path.write_text(json.dumps(said | {name: value}))
            with pytest.raises(DamagedError, match="is damaged"):
                read(library)
    finally:
        path.write_text(sound)


def test_a_newer_dictionary_is_not_loaded_adopted_or_built_over(library: Library, tmp_path: Path) -> None:
    path = library.folder(ID) / "manifest.json"
    sound = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(sound) | {"format": 3}))
        for use in (
            lambda: Dictionary.load(path.parent),
            lambda: adopt(Library(tmp_path / "here"), path.parent),
            lambda: list(library.verify(ID)),  # a build asks this before it builds anew
        ):
            with pytest.raises(NewerError, match="update ITDA Explorer"):
                use()
        *_, newer = library.records()
        assert isinstance(newer, InvalidDictionary) and newer.is_newer
    finally:
        path.write_text(sound)


def test_a_newer_report_is_not_measured_over(library: Library) -> None:
    path = files_of(library)["transplant"]
    sound = path.read_text()
    newer = json.dumps(json.loads(sound) | {"version": 3})
    try:
        path.write_text(newer)
        with pytest.raises(NewerError), running_job(library.root, "Carry", "20260102-000000-bbbbbb") as job:
            transplant(library, ID, OTHER, job)
        assert path.read_text() == newer
    finally:
        path.write_text(sound)


@pytest.mark.parametrize(
    "said", ["itda safetensors 3", "itda safetensors 999999", "itda safetensors x", "itda parquet 1", 1]
)
def test_the_format_of_an_export_is_read(library: Library, said: object) -> None:
    path = library.root / "exported" / "about.json"
    sound = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(sound) | {"format": said}))
        is_newer = str(said)[-1] in "39"
        with pytest.raises(UserError, match="update ITDA Explorer" if is_newer else "is damaged") as caught:
            read_any(path.parent)
        assert isinstance(caught.value, NewerError if is_newer else DamagedError)
    finally:
        path.write_text(sound)


def test_an_earlier_report_is_none_and_earlier_activations_say_what_to_do(library: Library) -> None:
    for kind, name, told in (("quality report", "version", None), ("shards' manifest", "format", "earlier version")):
        path = files_of(library)[kind]
        sound = path.read_text()
        path.write_text(json.dumps(json.loads(sound) | {name: 1}))
        try:
            if told is None:
                assert READERS[kind](library) is None
            else:
                with pytest.raises(UserError, match=told):
                    READERS[kind](library)
        finally:
            path.write_text(sound)


def test_what_a_number_of_a_format_is() -> None:
    assert (check_format(1, 2, "it", "mend it"), check_format(2, 2, "it", "mend it")) == (1, 2)
    with pytest.raises(NewerError, match="it was written by a newer version"):
        check_format(3, 2, "it", "mend it")
    for value in (0, -1, True, 1.0, "1", None, [1]):
        with pytest.raises(DamagedError, match=r"it is damaged .*: mend it"):
            check_format(value, 2, "it", "mend it")


def test_list_goes_on_after_a_newer_one(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    path = library.folder(ID) / "manifest.json"
    sound = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(sound) | {"format": 99}))
        capsys.readouterr()
        assert main(["list", "--library", str(library.root)]) == 0
        told = capsys.readouterr()
        assert OTHER in told.out and ID not in told.out
        assert "update ITDA Explorer" in told.err
    finally:
        path.write_text(sound)
