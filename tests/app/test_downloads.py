"""Every table of the pages Compare, Decompose and Similarity can be downloaded, whole."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import resources
from app.format.tables import csv_of
from app.shell import widgets
from app.state.pages import COMPARE_TABS, SIMILARITY_TABS
from itda_core.cli.command_line import main
from itda_core.library.library import Library
from itda_core.reports.layers import LAYER_MEASURES, read_layers
from tests.support.page_fixtures import OpenPage, records

TEXT = "The list comprehension returns a new list of the squares."

Tables = dict[str, list[dict[str, str]]]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Tables:
    """The rows that each download button of the page gives, by its key; all buttons work as they do."""
    found: Tables = {}
    download = widgets.download

    def noted(data, *, key: str, **options) -> None:
        found[key] = list(csv.DictReader(io.StringIO(csv_of(data() if callable(data) else data))))
        download(data, key=key, **options)

    monkeypatch.setattr(widgets, "download", noted)
    return found


def shown_tables(page: AppTest) -> int:
    """Lists with headings and tables on a page."""
    strips = [json.loads(strip.proto.json) for strip in page.main.get("bidi_component")]
    return sum(bool(strip.get("columns")) for strip in strips) + len(page.dataframe)


def pair_of(root: Path) -> tuple[str, str]:
    """Ids of layer 3 of the two models."""
    a, b = (record.id for record in records(root) if record.site.layer == 3)
    return a, b


def test_compare(library: Path, tmp_path: Path, open_page: OpenPage, tables: Tables) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b = pair_of(root)
    assert main(["compare", a, b, "--library", str(root)]) == 0
    tabs = [open_page(root, "/compare", d=a, e=b, passage=TEXT, tab=tab) for tab in COMPARE_TABS]
    assert not any(page.exception for page in tabs)
    assert sum(map(shown_tables, tabs)) > 5
    here = Library(root)
    counts = resources.pair(here.record(a), here.record(b)).counts()
    assert len(tables["pairs_csv"]) == counts.both
    assert len(tables["went_csv"]) == counts.a
    assert len(tables["came_csv"]) == counts.b
    assert len(tables["lost_csv"]) == len(tables["gained_csv"]) == counts.both
    assert tables["matches_csv"] and tables["sights_csv"]
    tables.clear()
    page = open_page(root, "/compare", d=a, e=b, a="0", b="0")
    assert not page.exception
    assert {"match_csv_a", "match_csv_b"} <= tables.keys()


def test_decompose(library: Path, open_page: OpenPage, tables: Tables) -> None:
    a, _ = pair_of(library)
    page = open_page(library, "/decompose", d=a, text=TEXT, t="3")
    assert not page.exception
    assert shown_tables(page) == 1
    found = resources.decomposition(a, TEXT)
    assert {int(row["token"]) for row in tables["decomposition_csv"]} == {
        at for at, token in enumerate(found.tokens) if token.row is not None
    }
    terms = [row for row in tables["decomposition_csv"] if row["token"] == "3"]
    assert [row["atom"] for row in tables["falling_data"]] == [row["atom"] for row in terms]


def test_similarity(measured: Path, open_page: OpenPage, tables: Tables) -> None:
    a, b = pair_of(measured)
    here = Library(measured)
    found = read_layers(here, here.record(a), here.record(b))
    bench = resources.layers_bench()
    assert found is not None and bench is not None
    tabs = [open_page(measured, "/similarity", d=a, e=b, layer="2", other="4", tab=tab) for tab in SIMILARITY_TABS]
    assert not any(page.exception for page in tabs)
    assert sum(len(page.dataframe) for page in tabs) == 2
    values = {row["measure"]: float(row["similarity"]) for row in tables["cell_csv"]}
    assert values == pytest.approx({LAYER_MEASURES[name]: rows[2][4] for name, rows in found.values.items()})
    assert len(tables["heatmap_shared_concordance_2_4_data"]) == 36 * len(found.values)
    own = tables["wholes_data"][-1]
    assert (own["pair"], float(own["IoU"])) == ("docs-a and docs-b", pytest.approx(found.union))
    assert [float(own[end]) for end in ("low", "high")] == pytest.approx(list(found.union_interval))
    assert float(own["chance"]) == pytest.approx(found.union_chance)
    assert len(tables["wholes_data"]) == 1 + len(bench["unions"][0]["pairs"])
    assert len(tables["bench_csv"]) == len(bench["accuracy"])
    assert {"bench_budgets_data", "bench_thresholds_data"} <= tables.keys()
    convergence = bench["convergence"]
    layers = bench["models"][convergence["model"]][0]
    assert len(tables["convergence_data"]) == len(convergence["steps"]) * layers
    last = tables["convergence_data"][-1]
    assert (int(last["step"]), float(last["IoU"])) == (
        convergence["steps"][-1],
        pytest.approx(convergence["iou"][-1][-1]),
    )
