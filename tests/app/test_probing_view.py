"""What probes found, as a page shows it: offered, drawn, and each atom that a probe chose with its source."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app.panels.quality.probing import points_of
from itda_core.common.layout import ATOMS_FILE
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.reports.probing import PROBING_FILE, Probe, ProbedCoder, ProbedProperty, Probing, Score, write_probing
from itda_core.reports.quality import Measured
from tests.support.page_fixtures import records
from tests.support.shown_pages import labels, shown, strips

PAGE = """
import streamlit as st
from app.shell import chrome
from app.panels.quality.probing import show_probing
def go(probed):
    st.session_state["gone"] = probed
show_probing(next(each for each in chrome.sound_records() if each.id == {id!r}), {chosen!r}, go, {saes!r})
st.text("what follows on the page")
"""
HOSTILE = "<script>window.hacked=1</script> ![x](http://outside.invalid/x.png)"
ATOM = 5


def around(value: float) -> Measured:
    return Measured(value, value - 0.01, value + 0.01)


def probe(coder: str, k: int | None, value: float, latents: tuple[int, ...] = (), sign: int = 1) -> Probe:
    lead = None if coder == "itda" else around(value - 0.6)
    return Probe(coder, k, around(value), lead, 0.7, 0.25, 0.125, latents, (sign,) * len(latents))


def report_of(record: DictionaryManifest, name: str = "code") -> Probing:
    coders = ("itda", "raw", "directions", "sae:topk-x")
    values = {"itda": 0.6, "raw": 0.7, "directions": 0.75, "sae:topk-x": 0.65}
    probes = [probe(coder, 1, values[coder], (ATOM,), -1) for coder in coders]
    probes += [probe(coder, None, values[coder] + 0.1) for coder in coders if coder != "directions"]
    return Probing(
        id=record.id,
        atoms_sha256=record.files[ATOMS_FILE],
        asked=40_000,
        seed=0,
        tokens=3000,
        documents=90,
        test_tokens=1000,
        test_documents=30,
        coders=tuple(ProbedCoder(each, record.n_atoms if each == "itda" else 192, 8.0) for each in coders),
        properties=(ProbedProperty(name, 321, 45, 100, 0.55, 0.66, tuple(probes)),),
        means=tuple(Score(each.coder, each.k, each.accuracy, each.lead) for each in probes),
        left_out={"list": "3 tokens of 1 documents to test on have it"},
        seconds=1.0,
    )


Open = Callable[..., AppTest]


def plain(page: AppTest) -> str:
    return shown(page).replace("\\", "").replace("\N{WORD JOINER}", "")


def figures(page: AppTest) -> list[dict]:
    return [json.loads(each.proto.spec) for each in page.get("plotly_chart")]


def lines(page: AppTest) -> dict[str, list[float]]:
    """Of the one figure: name of each line, and its values."""
    (figure,) = figures(page)
    return {line["name"]: pytest.approx(values(line["y"])) for line in figure["data"]}


def values(encoded: dict | list[float]) -> list[float]:
    """Plotly writes arrays in base 64."""
    if isinstance(encoded, list):
        return encoded
    return np.frombuffer(base64.b64decode(encoded["bdata"]), encoded["dtype"]).tolist()


@pytest.fixture
def open_view(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """`open_view(report, chosen)` runs the part alone; the first dictionary of a copy of the library has that report.

    `chosen` is the name of the property that the address has.
    """
    root = tmp_path / "library"
    shutil.copytree(library, root)
    monkeypatch.setenv("ITDA_LIBRARY", str(root))
    st.cache_resource.clear()
    st.cache_data.clear()

    def open_it(report: Probing | None, chosen: str = "", saes: dict[str, str] | None = None) -> AppTest:
        record = records(root)[0]
        if report is not None:
            write_probing(report, root / "dictionaries" / record.id)
        return AppTest.from_string(PAGE.format(id=record.id, chosen=chosen, saes=saes or {}), default_timeout=60).run()

    return open_it


def test_where_there_is_no_report_the_job_is_offered(
    open_view: Open,
    library: Path,
    started: list[list[str]],
) -> None:
    page = open_view(None)
    assert not page.exception
    assert "text that the dictionary was not built from" in shown(page)
    page.button[labels(page).index("Probe this dictionary")].click().run()
    assert started == [["probe", records(library)[0].id]]


def test_the_report_is_drawn_with_what_it_rests_on(open_view: Open, library: Path) -> None:
    record = records(library)[0]
    page = open_view(report_of(record))
    assert not page.exception
    text = plain(page)
    assert "trained on 2,000 tokens and tested on 1,000 of 30 other documents" in text
    assert "The mean over 1 properties" in text
    assert "Left out: in a list" in text
    assert lines(page)["atoms"] == [0.6, 0.7]
    assert (lines(page)["random directions"], lines(page)["SAE topk-x"]) == ([0.75], [0.65, 0.75])
    (figure,) = figures(page)
    assert figure["layout"]["showlegend"]
    atoms, _, directions, _ = figure["data"]
    assert (list(atoms["x"]), list(directions["x"])) == (["1", "all"], ["1"])
    assert len({line["line"]["color"] for line in figure["data"]}) == 4
    (table,) = page.dataframe
    rows = table.value.set_index(["property", "latents"])
    assert rows.at[("in code", "atoms"), "k = 1"] == 0.6
    assert rows.at[("mean", "the model's own dimensions"), "k = all"] == pytest.approx(0.8)
    assert rows.isna().sum().sum() == 2  # random directions have no probe of all


def test_one_property_is_drawn_where_it_is_chosen(open_view: Open, library: Path) -> None:
    page = open_view(report_of(records(library)[0]), "code")
    assert not page.exception
    text = plain(page)
    assert "321 of 3,000 tokens have it, in 45 documents" in text
    assert "0.66 from the token’s identity, 0.55 from its position" in text
    assert "its coefficient is smaller on tokens that have it" in text
    assert "a precision of 25 % (10 % of all tokens have the property) and a recall of 12 %" in text
    assert "The mean over" not in text and "Left out" not in text
    assert lines(page)["atoms"] == [0.6, 0.7]
    (pills,) = page.get("button_group")
    assert pills.value == "code"
    assert [each.replace("\\", "") for each in pills.options] == ["all, on average", "in code"]
    pills.set_value("").run()
    assert page.session_state["gone"] == ""


def test_a_property_that_was_not_probed_is_said_and_those_that_were(open_view: Open, library: Path) -> None:
    page = open_view(report_of(records(library)[0]), "colour")
    assert not page.exception
    assert "Property 'colour' was not probed; probed were: code" in plain(page)
    assert "The mean over 1 properties" in plain(page)


def test_the_atom_that_a_probe_chose_is_a_link_with_its_source(open_view: Open, library: Path) -> None:
    record = records(library)[0]
    page = open_view(report_of(record), "code")
    atom = Index(Library(library).index_path(record.id)).atom(ATOM)
    (row,) = [row for strip in strips(page) for row in strip["rows"]]
    assert row["href"] == f"atom?d={record.id}&a={ATOM}"
    assert [token[3] for token in row["tokens"]] == ["", "centre", ""]
    assert row["tokens"][1][0].strip() == atom.label.replace("\n", "↵").strip()
    assert atom.document_name in row["note"]


def test_a_property_with_a_hostile_name_is_text(open_view: Open, library: Path) -> None:
    report = report_of(records(library)[0], HOSTILE)
    for chosen in ("", HOSTILE):
        page = open_view(report, chosen)
        assert not page.exception
        assert "<script>" not in shown(page)
        assert "![x]" not in shown(page)


def test_a_damaged_report_is_said_in_one_line(open_view: Open, library: Path, tmp_path: Path) -> None:
    record = records(library)[0]
    open_view(report_of(record))
    path = tmp_path / "library" / "dictionaries" / record.id / PROBING_FILE
    path.write_text(path.read_text().replace('"tokens": 3000', '"tokens": -3'))
    page = open_view(None)
    assert not page.exception
    assert "is damaged" in shown(page)
    assert "what follows on the page" in shown(page)


def test_the_table_for_downloads_has_all_there_is_of_a_probe(library: Path) -> None:
    report = report_of(records(library)[0])
    points = points_of("in code", report.properties[0].probes, report)
    assert points["coder"].tolist() == ["itda", "itda", "raw", "raw", "directions", "sae:topk-x", "sae:topk-x"]
    first = points.iloc[0]
    assert (first["k"], first["accuracy"], first["AUC"], first["precision"]) == ("1", 0.6, 0.7, 0.25)
    assert first["latents"] == str(ATOM)
    assert points["lead over atoms"].isna().tolist() == [True, True, *[False] * 5]


def test_saes_have_the_page_s_names_and_one_that_is_missing_can_be_probed(
    open_view: Open,
    library: Path,
    started: list[list[str]],
) -> None:
    record = records(library)[0]
    page = open_view(report_of(record), saes={"topk-x": "TopK SAE · 4 latents"})
    assert "TopK SAE · 4 latents" in lines(page)
    assert "Probe again" not in labels(page)
    page = open_view(report_of(record), saes={"topk-x": "TopK SAE", "topk-y": "another SAE"})
    assert "Not in this report: another SAE." in plain(page)
    page.button[labels(page).index("Probe again")].click().run()
    assert started == [["probe", record.id]]
