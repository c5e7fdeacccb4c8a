"""Massive activations through a whole build: counted, marked, and left out where that is asked."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from safetensors.torch import load_file, save_file

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError
from itda_core.common.types import Document
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.model import load_model
from itda_core.reports.quality import dictionary_quality
from tests.support.builder import LibraryBuilder
from tests.support.corpora import write_documents
from tests.support.page_fixtures import OpenPage, records
from tests.support.places import MODEL_A

_WORD = " ellipsis"


@pytest.fixture(scope="module")
def massive_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo model in which one token is far longer than all others."""
    model = tmp_path_factory.mktemp("model") / "massive"
    shutil.copytree(MODEL_A, model)
    weights = load_file(model / "model.safetensors")
    (token,) = load_model(str(MODEL_A), device="cpu").tokenizer.encode(_WORD, add_special_tokens=False).ids[:1]
    weights["model.embed_tokens.weight"][token] *= 400
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return model


def texts(language_reference: list[Document]) -> list[Document]:
    return [
        Document(document.name, document.text[:200] + _WORD + document.text[200:])
        for document in language_reference[:20]
    ]


def test_a_build_counts_and_marks_massive_activations(
    tmp_path: Path,
    massive_model: Path,
    build_library: LibraryBuilder,
    language_reference: list[Document],
    open_page: OpenPage,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ITDA_MODELS", str(massive_model.parent))
    documents = texts(language_reference)
    root = build_library(tmp_path / "library", documents, "1", 1500, massive_model)
    (record,) = records(root)
    norms = record.norms
    assert norms is not None and norms.massive > 0 and norms.largest > 5 * norms.median
    assert f"{norms.massive:,} token" in capsys.readouterr().err
    index = Library(root).index_path(record.id)
    assert index.is_file() and norms.atoms
    page = open_page(root, "/atoms", d=record.id)
    assert any("as long as the median one" in caption.value for caption in page.caption)
    marked = open_page(root, "/atom", d=record.id, a=str(norms.atoms[0]))
    assert any("attention sinks" in caption.value for caption in marked.caption)
    other = min(set(range(record.n_atoms)) - set(norms.atoms))
    plain = open_page(root, "/atom", d=record.id, a=str(other))
    assert not any("attention sinks" in caption.value for caption in plain.caption)

    limited = build_library(tmp_path / "limited", documents, "1", 1500, massive_model, options=("--max-norm", "5"))
    (found,) = records(limited)
    assert found.norms is not None and found.norms.atoms == ()
    assert (found.norms.massive, found.norms.median) == (norms.massive, norms.median)
    assert found.measured_tokens < record.measured_tokens
    assert found.largest_norm == 5 * norms.median
    measured = [
        duckdb.connect(str(Library(root).index_path(each.id)), read_only=True)
        .execute("SELECT count(error), (SELECT count(DISTINCT token) FROM codes) FROM tokens")
        .fetchall()[0]
        for root, each in ((root, record), (limited, found))
    ]
    assert measured[0][0] - measured[1][0] == norms.massive and measured[1][1] <= measured[1][0]
    dictionary = Dictionary.load(Library(limited).folder(found.id))
    assert dictionary.settings.max_norm == 5 and found.norms.left_out == norms.massive
    assert main(["verify", "--library", str(limited)]) == 0

    # Measured without these tokens, beside as many random atoms that are none of them.
    assert main(["measure", found.id, "--tokens", "200", "--library", str(limited)]) == 0
    report = dictionary_quality(Library(limited), found)
    assert report is not None and report.with_model and 0 < report.tokens <= 200
    assert [max(point.latents for point in series.points) for series in report.series] == [found.n_atoms] * 2
    exported = tmp_path / "exported"
    assert main(["export", found.id, "--format", "safetensors", "--to", str(exported), "--library", str(limited)]) == 0
    texts_again = write_documents(tmp_path / "texts.jsonl", (documents * 20)[:20])
    where = ["--model", str(massive_model), "--corpus", str(texts_again), "--tokens", "1500"]
    assert main(["import", str(exported), *where, "--library", str(tmp_path / "imported")]) == 0
    (imported,) = records(tmp_path / "imported")
    assert imported.norms is not None and imported.norms.left_out == norms.massive
    assert imported.relative_error == pytest.approx(found.relative_error, rel=1e-4)
    assert main(["verify", "--library", str(tmp_path / "imported")]) == 0


def test_a_limit_goes_with_centring_a_size_and_kept_activations(
    tmp_path: Path, massive_model: Path, build_library: LibraryBuilder, language_reference: list[Document]
) -> None:
    how = ("--max-norm", "5", "--center", "mean", "--threshold", "0.3", "--atoms", "60")
    documents = texts(language_reference)
    root = build_library(tmp_path / "library", documents, "1", 1500, massive_model, options=how)
    (record,) = records(root)
    assert record.norms is not None and record.norms.left_out > 0 and record.norms.atoms == ()
    assert abs(record.n_atoms - 60) <= 3
    kept = build_library(
        tmp_path / "kept", documents, "1", 1500, massive_model, options=(*how, "--keep-activations", "--batch", "4")
    )
    (again,) = records(kept)
    assert again.norms is not None and again.norms.left_out == record.norms.left_out
    assert abs(again.n_atoms - record.n_atoms) <= 3


def test_a_manifest_s_norms_are_checked(library: Path) -> None:
    record = records(library)[0]
    manifest = json.loads((library / "dictionaries" / record.id / "manifest.json").read_text())
    assert DictionaryManifest.parse(record.id, {k: v for k, v in manifest.items() if k != "norms"}).norms is None
    sound = {"median": 1.0, "largest": 2.0, "massive": 0, "atoms": []}
    assert DictionaryManifest.parse(record.id, manifest | {"norms": sound}).norms is not None
    for wrong in (
        {},
        [],
        sound | {"median": -1},
        sound | {"atoms": [-1]},
        sound | {"massive": True},
        sound | {"atoms": [record.n_atoms]},
    ):
        with pytest.raises(DamagedError):
            DictionaryManifest.parse(record.id, manifest | {"norms": wrong})
