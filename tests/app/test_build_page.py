"""The Build page as Streamlit runs it: the form, its cost, what is wrong with it, and jobs."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.panels.build.form import arguments, check, form_of
from app.state.codec import decode
from app.state.pages import BuildState
from itda_core.common.errors import UserError
from itda_core.jobs.job import running_job
from tests.support.page_fixtures import OpenPage
from tests.support.places import MODEL_A
from tests.support.shown_pages import labels, links, shown


def command(page: AppTest) -> list[str]:
    """The command line that the page shows, as a shell reads it."""
    return shlex.split(page.code[0].value.replace("\\\n", ""))


def build_button(page: AppTest):
    return next(button for button in page.button if button.label in ("Build", "This is being built"))


@pytest.mark.parametrize(
    "form",
    [
        BuildState(),
        BuildState(
            "gpt2", "main", "a folder/x.txt", "1-3,7", "mlp,attn", 40, 0.3, "squared", 200_000, "cpu", "bfloat16"
        ),
        BuildState(column="content", split="test", config="en", corpus_revision="v1", documents=50, context=64),
        BuildState(windows="all", keep_first=True, batch=4, keep_activations=True, no_holdout=True),
        BuildState(scan="batch", init="frequent", method="orthogonal", recipe="pruned", max_atoms=100),
        BuildState("meta-llama/Llama-3.1-405B", layers="40,80", remote=True),
    ],
    ids=str,
)
def test_a_form_survives_the_command_line(form: BuildState) -> None:
    assert form_of(arguments(form)) == form


def test_a_command_that_is_no_build_fills_no_form() -> None:
    for given in (
        [],
        ["demo"],
        ["build", "-h"],
        ["map", "x"],
        ["build"],
        ["build", "m", "--layers", "x"],
        ["build", "m", "--nose"],
    ):
        assert form_of(given) is None


def test_a_model_that_looks_like_an_option_stays_a_model() -> None:
    assert arguments(BuildState("--library=/x"))[1] == "./--library=/x"


def test_the_form_opens_as_something_that_works(
    open_page: OpenPage,
    library: Path,
    started: list[list[str]],
) -> None:
    page = open_page(library, "/build")
    assert not page.exception
    assert ":red[" not in shown(page)
    assert command(page) == [
        "itda",
        "build",
        str(MODEL_A),
        "--layers=2",
        "--l0=20",
        "--threshold=0.2",
        "--tokens=40000",
        "--center=mean",
    ]
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Tokens"] == "40,000"
    assert metrics["Time"].rpartition(" ")[2] in ("s", "min", "h")
    assert "docs-a in this library" in shown(page).replace("\\", "")
    build_button(page).click().run()
    assert started == [command(page)[1:]]
    assert page.query_params["job"] == "20260101-000000-abcdef"


def test_a_field_goes_to_the_address_and_to_the_command(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/build")
    page.text_input(key="build_layers").set_value("1,3-5").run()
    page.number_input(key="build_max_atoms").set_value(500).run()
    page.checkbox(key="build_no_holdout").check().run()
    assert page.query_params["layers"] == "1,3-5"
    assert {"--layers=1,3-5", "--max-atoms=500", "--no-holdout"} <= set(command(page))
    again = open_page(library, "/build", layers="1,3-5", max_atoms="500", no_holdout="1")
    assert command(again) == command(page)
    assert again.text_input(key="build_layers").value == "1,3-5"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": ""}, "name a model"),
        ({"model": "/no/such/model"}, "no folder"),
        ({"layers": ""}, "such as 2,4"),
        ({"layers": "3-1"}, "such as 2,4"),
        ({"layers": "9"}, "layers 0 to 5"),
        ({"hook": ""}, "choose one of"),
        ({"corpus": "/no/such/file.txt"}, "cannot be opened"),
        ({"tokens": "0"}, "tokens is 0"),
        ({"l0": "0"}, "l0 is 0"),
        ({"threshold": "-1"}, "threshold is"),
        ({"context": "129"}, "128 tokens at most"),
        ({"batch": "1"}, "windows in a batch"),
        ({"documents": "0"}, "documents is 0"),
        ({"documents": "9"}, "no tenth to hold out"),
        ({"max_atoms": "0"}, "max"),
        ({"init": "frequent"}, "scan in batches"),
        ({"device": "tpu"}, "no such device"),
        ({"column": "te\x1b[2Jxt"}, "cannot be seen"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_at_its_field(params: dict[str, str], message: str) -> None:
    problems = check(decode(BuildState, params)).problems
    assert list(problems) == list(params)
    assert message in problems[next(iter(params))]


def test_a_wrong_field_keeps_the_build_from_starting(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/build", layers="9", corpus="![x](http://outside.invalid/x.png)")
    assert not page.exception
    assert "there is no layer 9" in shown(page)
    assert "](http" not in "".join(each.value for each in (*page.caption, *page.markdown))
    assert build_button(page).disabled


def test_a_bad_address_says_so_and_offers_a_way_out(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/build", tokens="many")
    assert "tokens" in page.error[0].value
    page.button[labels(page).index("Start afresh")].click().run()
    assert not [each.value for each in page.error if "address" in each.value]  # others tell of jobs that failed
    assert not build_button(page).disabled


def test_a_text_of_ones_own_works_as_it_is(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Some words of a text. " * 1000)
    page = open_page(library, "/build", corpus=str(tmp_path / "notes.txt"))
    assert not page.exception
    assert not page.warning
    assert ":red[" not in shown(page)
    assert {metric.label: metric.value for metric in page.metric}["Tokens"] == "5,334"  # of 40,000 that are asked
    assert not build_button(page).disabled
    (tmp_path / "notes.txt").write_text("Some words of a text. ")
    page.run()
    assert "The corpus has a single document, so none is held out" in page.warning[0].value
    assert not open_page(library, "/build", corpus=str(tmp_path / "notes.txt"), no_holdout="1").warning
    (tmp_path / "notes.txt").write_bytes(b"%PDF-1.7")
    page.run()
    assert "is a PDF" in shown(page)
    assert build_button(page).disabled


def test_a_pasted_text_becomes_the_corpus(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    page = open_page(root, "/build")
    page.text_area(key="own_text").set_value("A page of my own. " * 50)
    next(button for button in page.button if button.label == "Use this text").click().run()
    assert not page.exception
    (path,) = (root / "uploads").iterdir()
    assert page.query_params["corpus"] == str(path)
    assert page.selectbox(key="build_corpus").value == str(path)
    assert path.read_text() == "A page of my own. " * 50
    page.text_area(key="own_text").set_value(" ")
    next(button for button in page.button if button.label == "Use this text").click().run()
    assert page.query_params["corpus"] == str(path)


def test_a_model_too_large_is_sent_elsewhere(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/build", model="meta-llama/Llama-3.1-405B", layers="40")
    assert not page.exception
    assert "NDIF" in page.warning[0].value
    assert {metric.label: metric.value for metric in page.metric}["Time"] == "unknown"
    assert "Time unknown" in shown(page)


def test_a_model_on_ndif(open_page: OpenPage, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = BuildState("meta-llama/Llama-3.1-405B", remote=True)
    monkeypatch.delenv("NDIF_API_KEY", raising=False)
    assert "NDIF_API_KEY" in check(form).problems["remote"]
    monkeypatch.setenv("NDIF_API_KEY", "secret-key")
    assert check(form).problems == {}
    assert "folder" in check(replace(form, model="docs-a")).problems["remote"]
    assert "NDIF chooses" in check(replace(form, dtype="bfloat16")).problems["remote"]
    page = open_page(library, "/build", model="meta-llama/Llama-3.1-405B", remote="1")
    assert not page.exception
    assert "queue" in shown(page)
    assert "--remote" in command(page)
    assert "secret-key" not in shown(page)


def test_an_empty_library_has_nothing_to_go_by(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(tmp_path / "none", "/build")
    assert not page.exception
    assert "no run of any model yet" in shown(page)
    assert not build_button(page).disabled
    assert not (tmp_path / "none").exists()


def test_a_running_build_is_not_started_twice(open_page: OpenPage, tmp_path: Path) -> None:
    with running_job(tmp_path, "Build") as job:
        (tmp_path / "jobs" / job.state.id / "command.json").write_text(json.dumps(arguments(BuildState())))
        job.stage("building", 100)
        page = open_page(tmp_path, "/build")
        assert not page.exception
        assert build_button(page).disabled
        assert "Yes, cancel it" in labels(page)
        assert "Build docs-a, layers 2, on docs" in shown(page)


@pytest.mark.parametrize("error", [UserError("no ![x](http://outside.invalid/x.png)"), KeyboardInterrupt()])
def test_a_job_that_ended_badly_fills_the_form_again(open_page: OpenPage, tmp_path: Path, error: BaseException) -> None:
    form = BuildState(layers="1,3-5", corpus="docs", documents=70, keep_first=True)
    with pytest.raises(type(error)), running_job(tmp_path, "Build") as job:
        folder = tmp_path / "jobs" / job.state.id
        (folder / "command.json").write_text(json.dumps(arguments(form)))
        (folder / "log.txt").write_text("what it said\n")
        raise error
    page = open_page(tmp_path, "/build", job=job.state.id)
    assert not page.exception
    assert len(page.error) == isinstance(error, UserError)
    assert "](http" not in "".join(each.value for each in page.error)
    assert "what it said" in shown(page)
    (again,) = links(page)
    query = dict(part.split("=") for part in again.removeprefix("build?").split("&"))
    assert query == {"layers": "1%2C3-5", "documents": "70", "keep_first": "1"}
    page.button[labels(page).index("Dismiss")].click().run()
    assert not page.exception and not page.error and "Dismiss" not in labels(page)
