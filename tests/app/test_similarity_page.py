"""The Similarity page, run without a browser."""

import json
import shutil
from pathlib import Path

import pytest

from app import resources
from app.format.text import number
from itda_core.library.library import Library
from itda_core.reports.layers import BENCHED, read_layers
from tests.support.page_fixtures import OpenPage, follow, records
from tests.support.shown_pages import passages


def ids(root: Path) -> tuple[str, str]:
    a, b = (record.id for record in records(root) if record.site.layer == 3)
    return a, b


def text(page) -> str:
    return "\n".join(each.value for kind in ("markdown", "caption", "text", "subheader") for each in page.get(kind))


def test_choosing_two_models(library: Path, open_page: OpenPage) -> None:
    page = open_page(library, "/similarity")
    assert not page.exception
    here = records(library)[0]
    assert passages(page) == [{"docs-a": "docs-b", "docs-b": "docs-a"}[here.model]]  # the other one, as a link
    other = next(record for record in records(library) if record.model != here.model)
    page = follow(page.selectbox(key="chosen_b").set_value(other.id).run())
    assert dict(page.query_params) == {"d": here.id, "e": other.id}
    assert [button.label for button in page.button] == ["Measure all layers"]


def test_the_question_and_its_answer(measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    library = Library(measured)
    found = read_layers(library, library.record(a), library.record(b))
    assert found is not None
    page = open_page(measured, "/similarity", d=a, e=b, by="linear_cka", layer="2")
    assert not page.exception
    row = found.values["linear_cka"][2]
    best = max(range(6), key=row.__getitem__)
    assert f"Layer {best}, with" in text(page)
    assert f"Layer 2 of A and layer {best} of B" in text(page)
    # Another measure, another layer: both live in the address.
    page.selectbox(key="similarity_measure").select("mutual_knn").run()
    assert page.query_params["by"] == "mutual_knn"
    page.selectbox(key="similarity_layer").select(4).run()
    assert page.query_params["layer"] == "4"
    assert "Layer 4 of A" in text(page)


def test_svcca_is_there_in_both_forms_and_said_apart(measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    for measure, words in (("svcca", "to find layers, take 20 directions"), ("svcca_directions", "20 strongest")):
        page = open_page(measured, "/similarity", d=a, e=b, by=measure)
        assert not page.exception
        assert words in text(page)
    page = open_page(measured, "/similarity", d=a, e=b, tab="trust")
    (table,) = (each.value for each in page.dataframe if "right" in each.value)
    paper = dict(zip(table["measure"], table["paper, GPT-2 small"], strict=True))
    assert paper["SVCCA, 99 % of the variance"] == "–"
    assert paper["SVCCA, 20 directions"] == "0.50"
    assert "which its 0.50 and 0.44 are for" in text(page)


def test_a_report_says_what_it_lacks_and_what_to_mind(measured: Path, tmp_path: Path, open_page: OpenPage) -> None:
    root = tmp_path / "library"
    shutil.copytree(measured, root)
    a, b = ids(root)
    (report,) = (root / "comparisons").glob("layers--*")
    found = json.loads(report.read_text())
    del found["values"]["svcca_directions"]
    report.write_text(json.dumps(found | {"cautions": {"linear_cka": "few tokens <b>"}}))
    page = open_page(root, "/similarity", d=a, e=b, by="linear_cka")
    assert not page.exception
    said = text(page).replace("\\", "").replace("\u2060", "")  # nothing in it is markup
    assert "Caution: few tokens <b>." in said
    assert "SVCCA, 20 directions: not measured, since the report was made before" in said
    assert "Caution" not in text(open_page(root, "/similarity", d=a, e=b, by="mutual_knn"))


def test_the_two_models_as_wholes(measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    library = Library(measured)
    found = read_layers(library, library.record(a), library.record(b))
    assert found is not None
    page = open_page(measured, "/similarity", d=a, e=b)
    assert not page.exception
    said = {metric.label: metric.value for metric in page.metric}
    assert said["Shared sources (IoU)"] == number(found.union)
    assert said["95 % interval"] == " to ".join(map(number, found.union_interval))
    assert said["By chance"] == number(found.union_chance)
    assert "Similarity over all layers" in text(page)
    assert "the comparison with the dots is approximate" in text(page)  # it read fewer tokens than the bench


def test_without_a_pair_the_bench_is_there(library: Path, open_page: OpenPage) -> None:
    for tab, title in (
        ("pair", []),
        ("trust", ["Accuracy of the measures"]),
        ("training", ["Convergence during training"]),
    ):
        page = open_page(library, "/similarity", tab=tab)
        assert not page.exception
        assert not page.metric
        assert [each.value for each in page.subheader] == title


def test_a_bench_without_checkpoints_or_none_at_all(
    library: Path, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = json.loads(resources.LAYERS_RESULTS.read_text())
    results = tmp_path / "layers.json"
    results.write_text(json.dumps(bench | {"convergence": {"model": None, "steps": [], "iou": []}}))
    monkeypatch.setattr(resources, "LAYERS_RESULTS", results)
    page = open_page(library, "/similarity", tab="training")
    assert not page.exception
    assert "Convergence during training" not in text(page)
    results.unlink()
    page = open_page(library, "/similarity", tab="training")
    assert not page.exception
    assert not page.subheader


def test_a_cell_with_both_dictionaries_leads_to_their_shared_atoms(measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    page = open_page(measured, "/similarity", d=a, e=b, layer="3", other="3")
    assert "build a dictionary of" not in text(page)
    page = open_page(measured, "/similarity", d=a, e=b, layer="3", other="5")
    assert "build a dictionary of layer 5 of docs-b" in text(page)


def test_a_choice_can_be_cleared(measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    page = open_page(measured, "/similarity", d=a, e=b)
    page = follow(page.selectbox(key="chosen_b").set_value(None).run())
    assert not page.exception
    assert dict(page.query_params) == {"d": a}


def test_a_damaged_report_is_told(measured: Path, tmp_path: Path, open_page: OpenPage) -> None:
    root = tmp_path / "library"
    shutil.copytree(measured, root)
    a, b = ids(root)
    (report,) = (root / "comparisons").glob("layers--*")
    sound = json.loads(report.read_text())
    for change in ({"values": {}}, {"union": 10**400}, {"key": "colour"}):
        report.write_text(json.dumps(sound | change))
        page = open_page(root, "/similarity", d=a, e=b)
        assert not page.exception
        assert "delete its file" in page.error[0].value.replace("\\", "")


def test_layers_that_there_are_not_are_told(measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    page = open_page(measured, "/similarity", d=a, e=b, layer="99")
    assert not page.exception
    assert "no layer 99" in page.error[0].value
    # The report was read all the same, so the models as wholes keep the pair.
    library = Library(measured)
    found = read_layers(library, library.record(a), library.record(b))
    assert found is not None
    assert {metric.label: metric.value for metric in page.metric}["Shared sources (IoU)"] == number(found.union)


def test_the_readers_pair_is_explained_without_a_bench(
    measured: Path, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "LAYERS_RESULTS", tmp_path / "none.json")
    a, b = ids(measured)
    page = open_page(measured, "/similarity", d=a, e=b)
    assert not page.exception
    assert "The diamond is your pair" in text(page)
    assert "the comparison with the dots" not in text(page)


def test_the_table_has_the_models_of_another_depth(library: Path, open_page: OpenPage) -> None:
    bench = json.loads(resources.LAYERS_RESULTS.read_text())
    page = open_page(library, "/similarity", tab="trust")
    (table,) = (each.value for each in page.dataframe if "right" in each.value)
    others = " and ".join(bench["others"])
    values = dict(zip(table["measure"], table[f"with {others}"], strict=True))
    for name, value in bench["across"][0]["accuracy"].items():
        if name in BENCHED:
            assert values[BENCHED[name]] == value
    assert "between these models and those, which have the same tokenizer" in text(page).replace("\\", "")


@pytest.mark.parametrize(
    "params",
    [{"by": "nothing"}, {"layer": "-1"}, {"other": "99"}, {"d": "nobody"}],
)
def test_addresses_that_cannot_be(params: dict[str, str], measured: Path, open_page: OpenPage) -> None:
    a, b = ids(measured)
    page = open_page(measured, "/similarity", **{"d": a, "e": b, **params})
    assert not page.exception
    assert len(page.error) == 1


def test_an_empty_library(tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(tmp_path / "empty", "/similarity")
    assert not page.exception
    assert "no dictionaries yet" in text(page)
