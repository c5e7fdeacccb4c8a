"""What probes found, as a page shows it: offered, drawn, and each atom that a probe chose with its source."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from page_fixtures import records
from streamlit.testing.v1 import AppTest
from test_pages import labels, shown, started, strips  # noqa: F401 - a fixture among them

from app.probing_view import points_of
from itda_core.layout import ATOMS_FILE
from itda_core.library import DictionaryRecord, Library
from itda_core.probing_results import PROBING_FILE, Probe, ProbedCoder, ProbedProperty, Probing, Score, write_probing
from itda_core.quality import Measured
from itda_core.queries import Index

pytest_plugins = ("page_fixtures",)

PAGE = """
import streamlit as st
from app import parts
from app.probing_view import show_probing
show_probing(next(each for each in parts.sound_records() if each.id == {id!r}))
st.text("what follows on the page")
"""
HOSTILE = "<script>window.hacked=1</script> ![x](http://outside.invalid/x.png)"
ATOM = 5


def around(value: float) -> Measured:
    return Measured(value, value - 0.01, value + 0.01)


def probe(coder: str, k: int | None, value: float, latents: tuple[int, ...] = (), sign: int = 1) -> Probe:
    lead = None if coder == "itda" else around(value - 0.6)
    return Probe(coder, k, around(value), lead, 0.7, 0.25, 0.125, latents, (sign,) * len(latents))


def report_of(record: DictionaryRecord, name: str = "code") -> Probing:
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


Open = Callable[[Probing | None], AppTest]


@pytest.fixture
def open_view(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """`open_view(report)` runs the part alone over a copy of the library whose first dictionary has that report."""
    root = tmp_path / "library"
    shutil.copytree(library, root)
    monkeypatch.setenv("ITDA_LIBRARY", str(root))
    st.cache_resource.clear()
    st.cache_data.clear()

    def open_it(report: Probing | None) -> AppTest:
        record = records(root)[0]
        if report is not None:
            write_probing(report, root / "dictionaries" / record.id)
        return AppTest.from_string(PAGE.format(id=record.id), default_timeout=60).run()

    return open_it


def test_where_there_is_no_report_the_job_is_offered(
    open_view: Open,
    library: Path,
    started: list[list[str]],  # noqa: F811
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
    text = shown(page).replace("\\", "").replace("\N{WORD JOINER}", "")
    assert "trained on 2,000 tokens and tested on 1,000 of 30 other documents" in text
    assert "321 of 3,000 tokens have it, in 45 documents" in text
    assert "which token it is gives 0.66, and its position alone 0.55" in text
    assert "Left out: in a list" in text
    assert "smaller on these tokens" in text
    assert "right for 25 %, against 10 % of all tokens" in text
    assert "says so of 12 % of the tokens" in text
    figures = [json.loads(each.proto.spec) for each in page.get("plotly_chart")]
    assert len(figures) == 2
    for figure in figures:
        assert [line["name"] for line in figure["data"]] == [
            "atoms",
            "the model's own dimensions",
            "random directions",
            "SAE topk-x",
        ]
        atoms, _, directions, _ = figure["data"]
        assert (list(atoms["x"]), list(directions["x"])) == (["1", "all"], ["1"])
        assert len({line["line"]["color"] for line in figure["data"]}) == 4
    assert figures[0]["layout"]["showlegend"]
    (table,) = page.dataframe
    rows = table.value.set_index(["property", "latents"])
    assert rows.at[("in code", "atoms"), "k = 1"] == 0.6
    assert rows.at[("mean", "the model's own dimensions"), "k = all"] == pytest.approx(0.8)
    assert rows.isna().sum().sum() == 2  # random directions have no probe of all


def test_the_atom_that_a_probe_chose_is_a_link_with_its_source(open_view: Open, library: Path) -> None:
    record = records(library)[0]
    page = open_view(report_of(record))
    atom = Index(Library(library).index_path(record.id)).atom(ATOM)
    (row,) = [row for strip in strips(page) for row in strip["rows"]]
    assert row["href"] == f"atom?d={record.id}&a={ATOM}"
    assert [token[3] for token in row["tokens"]] == ["", "centre", ""]
    assert row["tokens"][1][0].strip() == atom.label.replace("\n", "↵").strip()
    assert atom.document_name in row["note"]


def test_a_property_with_a_hostile_name_is_text(open_view: Open, library: Path) -> None:
    report = report_of(records(library)[0], HOSTILE)
    page = open_view(report)
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
