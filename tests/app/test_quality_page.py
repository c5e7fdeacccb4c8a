"""The Quality page, run without a browser."""

import json
import re
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import resources
from app.panels.quality.recipes import recipes_table
from itda_core.cli.command_line import parse
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.settings import SaeSettings
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import QUALITY_METRICS, Quality, Series, write_quality
from tests.support.page_fixtures import OpenPage, follow, records
from tests.support.quality_fixtures import L0S, SAE_ID, sizes_of, write_sae
from tests.support.shown_pages import labels, pages_of


def pair_of(root: Path) -> tuple[DictionaryManifest, DictionaryManifest]:
    """Layer 3 of the two models, both of which have a report."""
    first, second = (record for record in records(root) if record.site.layer == 3)
    return first, second


def text(page: AppTest) -> str:
    found = [each.value for kind in ("markdown", "caption", "text", "subheader") for each in page.get(kind)]
    return "\n".join(found).replace("\\", "").replace("\N{WORD JOINER}", "")


def strip(page: AppTest, heading: str) -> dict:
    """The list whose first column has this heading."""
    found = [json.loads(each.proto.json) for each in page.main.get("bidi_component")]
    (only,) = (each for each in found if each["columns"][:1] == [heading])
    return only


def test_the_answer_comes_first(with_reports: Path, open_page: OpenPage) -> None:
    first, second = pair_of(with_reports)
    page = open_page(with_reports, "/quality", d=first.id)
    assert not page.exception and not page.error
    assert page.title[0].value == "How good is this dictionary?"
    assert page.subheader[0].value == "These atoms are better than equally many random atoms"
    # Of its whole size and its own L0, 8: 0.6 + 2 · 0.05 + 1 · 0.04.
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures == {
        "CE loss score": "0.740",
        "Variance explained": "0.690",
        "Relative error": "0.260",
        "Dead latents": "8.0 %",
    }
    assert "Random atoms: 0.690" in text(page)
    assert "0.730 to 0.750" in text(page)
    assert "on 600 tokens of 12 documents" in text(page)
    # Every document has the same lead, so that its interval has no width; the two intervals side by side overlap.
    assert "These atoms are ahead by 0.050 (0.050 to 0.050) in CE loss score and ahead by 0.050" in text(page)
    page = open_page(with_reports, "/quality", d=second.id)
    assert "These atoms are behind by 0.050 (0.050 to 0.050) in CE loss score" in text(page)
    assert page.subheader[0].value == "These atoms are worse than equally many random atoms"


def test_every_point_is_a_link_to_its_atoms(with_reports: Path, open_page: OpenPage) -> None:
    first, _ = pair_of(with_reports)
    rows = strip(open_page(with_reports, "/quality", d=first.id), "Atoms")["rows"]
    assert len(rows) == 2 * len(sizes_of(first)) * len(L0S)
    small, _, whole = sizes_of(first)
    hrefs = {(row["tokens"][0][0], row["cells"][0], row["cells"][1]): row["href"] for row in rows}
    assert hrefs["own atoms", f"{small:,}", "4"] == f"atoms?d={first.id}&first={small}"
    assert hrefs["own atoms", f"{whole:,}", "4"] == f"atoms?d={first.id}"
    assert hrefs["random atoms", f"{small:,}", "16"] == f"atoms?d={first.id}&first={small}"
    listed = open_page(with_reports, "/atoms", d=first.id, first=str(small))
    assert not listed.exception
    assert f"{small:,} of {first.n_atoms:,} atoms" in text(listed)
    assert f"Only the first {small:,} atoms" in text(listed)
    assert listed.slider(key="atoms_first").value == small
    listed.slider(key="atoms_first").set_value(first.n_atoms).run()
    assert "first" not in listed.query_params


def test_two_dictionaries(with_reports: Path, open_page: OpenPage) -> None:
    first, second = pair_of(with_reports)
    page = open_page(with_reports, "/quality", d=first.id, e=second.id)
    assert not page.exception and not page.error
    said = [each.value for each in page.subheader]
    assert said[:2] == [
        "A’s atoms are better than equally many random atoms",
        "B’s atoms are worse than equally many random atoms",
    ]
    assert "A is not clearly different from B" in said
    assert len(page.metric) == 8
    assert page.selectbox(key="chosen_b").value == second.id
    rows = strip(page, "Atoms")["rows"]
    assert [row["sides"] for row in rows].count("b") == 2 * len(sizes_of(second)) * len(L0S)


def test_an_sae_over_a_dictionary(with_reports: Path, open_page: OpenPage) -> None:
    first, _ = pair_of(with_reports)
    page = open_page(with_reports, "/quality", d=first.id, e=SAE_ID)
    assert not page.exception and not page.error
    assert "A is worse than B" in [each.value for each in page.subheader]
    of_sae = [row for row in strip(page, "Atoms")["rows"] if row["sides"] == "b"]
    assert [row["href"] for row in of_sae] == [f"quality?d={first.id}&e={SAE_ID}&sae={SAE_ID}"]
    assert page.selectbox(key="quality_sae").value == SAE_ID
    assert page.selectbox(key="chosen_b").value is None
    assert "trained on 120,000 tokens for 1 min 35 s" in text(page)
    page = open_page(with_reports, "/quality", d=first.id, e=SAE_ID, sae=SAE_ID)
    (listed,) = strip(page, "SAE")["rows"]
    assert listed["cells"][:3] == ["120,000", "1 min 35 s", "0.900"]
    assert listed["href"] == f"quality?d={first.id}&e={SAE_ID}"
    assert listed["sides"] == "b" and listed["current"]
    assert page.table[0].value.loc["Distinct tokens"].item().replace("\\", "") == "5,000"


def test_saes_of_all_kinds(with_reports: Path, tmp_path: Path, open_page: OpenPage) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_reports, root)
    first, second = pair_of(root)
    here = Library(root)
    mark = "<img src=x> ![x](http://outside.invalid/a.png)"
    elsewhere = {"release": mark, "sae_id": None, "settings": None, "tokens": None, "seconds": None, "k": None}
    write_sae(here, first, "pretrained-0", kind="jumprelu", **elsewhere)
    write_sae(here, first, "twin-1", seconds=90.0)
    write_sae(here, second, "foreign-2")
    page = open_page(root, "/quality", d=first.id, tab="saes")
    assert not page.exception and not page.error
    rows = {row["href"].rpartition("=")[2]: row for row in strip(page, "SAE")["rows"]}
    assert set(rows) == {SAE_ID, "pretrained-0", "twin-1"}
    assert rows["pretrained-0"]["cells"] == ["–"] * 5
    names = [row["tokens"][0][0] for row in rows.values()]
    assert len(set(names)) == 3 and f"SAE {mark}" in names
    # What has no report says so; and one of another site can be laid over it all the same.
    page = open_page(root, "/quality", d=first.id, e="pretrained-0")
    assert not page.exception
    assert "This SAE is not measured" in text(page) and "trained elsewhere" in text(page)
    page = open_page(root, "/quality", d=first.id, e="foreign-2", tab="saes")
    assert "foreign-2" in {row["href"].rpartition("=")[2] for row in strip(page, "SAE")["rows"]}


def test_another_measure_and_other_lines_live_in_the_address(with_reports: Path, open_page: OpenPage) -> None:
    first, second = pair_of(with_reports)
    page = open_page(with_reports, "/quality", d=first.id)
    measures = page.segmented_control(key="quality_measure")
    shown = ("ce_loss_score", "variance_explained", "relative_error", "ce_loss", "dead")
    assert measures.options == [QUALITY_METRICS[name] for name in QUALITY_METRICS if name in shown]
    measures.set_value("dead").run()
    assert page.query_params["by"] == "dead"
    assert "active on none of the measured tokens" in text(page)
    assert page.segmented_control(key="quality_lines").value == "all"
    page.segmented_control(key="quality_lines").set_value("own").run()
    assert page.query_params["lines"] == "own"
    page = follow(page.selectbox(key="chosen_b").set_value(second.id).run())
    assert page.query_params["e"] == second.id
    assert "lines" not in page.query_params
    assert page.segmented_control(key="quality_lines").value == "own"  # as usual for two
    page = follow(page.selectbox(key="chosen_b").set_value(None).run())
    assert set(page.query_params) == {"d", "by"}


def test_without_a_report_the_page_says_why_and_what_to_do(with_reports: Path, open_page: OpenPage) -> None:
    (bare,) = (record for record in records(with_reports) if record.site.layer == 1)
    page = open_page(with_reports, "/quality", d=bare.id)
    assert not page.exception and not page.error
    assert not page.metric
    assert "the report is stored" in text(page)
    assert labels(page) == ["Measure A"]
    page = open_page(with_reports, "/quality", d=bare.id, tab="saes")
    assert labels(page) == ["Train a TopK SAE"]
    assert "There is no SAE of this site yet" in text(page)
    assert labels(open_page(with_reports, "/quality", d=bare.id, tab="probes")) == ["Probe this dictionary"]
    # Beside a dictionary that has one, that one is shown all the same.
    first, _ = pair_of(with_reports)
    page = open_page(with_reports, "/quality", d=first.id, e=bare.id)
    assert len(page.metric) == 4
    assert labels(page) == ["Measure B"]


def test_the_kind_of_sae_to_train(with_reports: Path, tmp_path: Path, open_page: OpenPage) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_reports, root)
    first, _ = pair_of(root)
    write_sae(Library(root), first, "usual", settings=SaeSettings())
    page = open_page(root, "/quality", d=first.id, tab="saes")
    assert labels(page) == []
    assert "This dictionary has a TopK SAE" in text(page)
    page = open_page(with_reports, "/quality", d=first.id, tab="saes")
    page.segmented_control(key="quality_kind").set_value("standard").run()
    assert page.query_params["kind"] == "standard"
    assert labels(page) == ["Train a ReLU SAE"]


@pytest.mark.parametrize("params", [{"by": "beauty"}, {"lines": "none"}, {"d": "nobody"}, {"e": "nobody"}])
def test_addresses_that_cannot_be(params: dict[str, str], with_reports: Path, open_page: OpenPage) -> None:
    first, _ = pair_of(with_reports)
    page = open_page(with_reports, "/quality", **{"d": first.id, **params})
    assert not page.exception
    (error,) = page.error
    if "nobody" in params.values():
        assert first.id in error.value.replace("\\", "")
    if "e" in params:
        assert SAE_ID in error.value.replace("\\", "")


def test_nothing_is_chosen_and_nothing_is_there(with_reports: Path, tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(with_reports, "/quality")
    assert not page.exception
    assert dict(page.query_params) == {"d": records(with_reports)[0].id}
    page = follow(page.selectbox(key="chosen_a").set_value(pair_of(with_reports)[1].id).run())
    assert dict(page.query_params) == {"d": pair_of(with_reports)[1].id}
    page = open_page(tmp_path / "empty", "/quality")
    assert not page.exception
    assert "no dictionaries yet" in text(page)


def test_a_damaged_report_is_told_and_the_other_is_shown(
    with_reports: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_reports, root)
    first, second = pair_of(root)
    report = Library(root).folder(first.id) / "quality.json"
    sound = json.loads(report.read_text())
    for change in ({"tokens": "many"}, {"series": 3}, {"id": second.id}, {"version": 0}):
        report.write_text(json.dumps(sound | change))
        page = open_page(root, "/quality", d=first.id, e=second.id)
        assert not page.exception
        assert "delete it and measure again" in page.error[0].value.replace("\\", "")
        assert len(page.metric) == 4
        assert "Measure A" in [button.label for button in page.button]  # which replaces it
    (root / "saes" / SAE_ID / "manifest.json").write_text("{")
    report.write_text(json.dumps(sound))
    page = open_page(root, "/quality", d=first.id, tab="saes")
    assert not page.exception
    assert SAE_ID in page.error[0].value.replace("\\", "")


def test_a_report_of_another_sae_is_refused(with_reports: Path, tmp_path: Path, open_page: OpenPage) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_reports, root)
    first, _ = pair_of(root)
    report = Library(root).saes / SAE_ID / "quality.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {"of_sha256": "0" * 64}))
    page = open_page(root, "/quality", d=first.id, e=SAE_ID)
    assert not page.exception
    assert "is of another SAE" in page.error[0].value.replace("\\", "")


def test_a_report_of_a_stranger_is_only_text(with_reports: Path, tmp_path: Path, open_page: OpenPage) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_reports, root)
    first, _ = pair_of(root)
    folder = Library(root).folder(first.id)
    mark = "![x](http://outside.invalid/a.png)"
    series = (Series(mark, ()),)
    write_quality(Quality(first.id, 1, 1, None, None, series, 0.0, of_sha256=first.files[ATOMS_FILE]), folder)
    page = open_page(root, "/quality", d=first.id)
    assert not page.exception
    assert "no point of its own" in text(page)


def test_the_buttons_start_commands_that_there_are(
    with_reports: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(resources, "start", lambda *arguments: started.append(list(arguments)))
    (bare,) = (record for record in records(with_reports) if record.site.layer == 1)
    for tab in ("measured", "saes"):
        page = open_page(with_reports, "/quality", d=bare.id, kind="standard", tab=tab)
        page.button[0].click().run()
        assert not page.exception
    assert started == [["measure", bare.id], ["sae", bare.id, "--kind", "standard"]]
    assert [parse(arguments).id for arguments in started] == [bare.id, bare.id]


def test_nothing_but_the_open_tab_is_computed(
    with_reports: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("recipes_bench", "probing", "quality"):
        real = getattr(resources, name)
        monkeypatch.setattr(resources, name, lambda *a, name=name, real=real: (asked.append(name), real(*a))[1])
    first, _ = pair_of(with_reports)
    for tab, wanted in (("recipes", {"recipes_bench"}), ("probes", {"probing"}), ("measured", {"quality"})):
        asked.clear()
        assert not open_page(with_reports, "/quality", d=first.id, tab=tab).exception
        assert {*asked} == wanted


def test_pages_lead_there(with_reports: Path, open_page: OpenPage) -> None:
    first, second = pair_of(with_reports)

    here = f"quality?d={first.id}"
    assert pages_of(open_page(with_reports, "/atoms", d=first.id))["Quality"]["href"] == here
    found = pages_of(open_page(with_reports, "/compare", d=first.id, e=second.id))
    assert found["Quality"]["href"] == f"{here}&e={second.id}"


def test_every_recipe_stands_beside_the_published_one(
    with_reports: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, _ = pair_of(with_reports)
    page = open_page(with_reports, "/quality", d=first.id, tab="recipes")
    assert not page.exception and "Recipes, on this project’s models" in text(page)
    assert "docs-b layer 2" in text(page).replace("\\", "")
    assert re.search(r"Fitting makes encoding take \d\.\d times as long", text(page))

    def result(unexplained: float, score: float, seconds: float, *lead: float) -> dict:
        scores = {"ce_loss_score": [score, 0, 1], "ce_lead": list(lead or (0, 0, 0))}
        return {"unexplained": [unexplained, 0, 1], "seconds": seconds, **scores}

    recipes = [
        {
            "published": result(0.4, 0.9, 1),
            "pruned": result(0.3, 0.91, 3, 0.01, -0.01, 0.03),
            "pruned, refitted": result(0.2, 0.95, 3, 0.05, 0.02, 0.08),
        },
        {
            "published": result(0.2, 0.8, 1),
            "pruned": result(0.21, 0.79, 5, -0.01, -0.02, -0.001),
            "pruned, refitted": result(0.1, 0.85, 5, 0.05, 0.01, 0.09),
        },
    ]
    table = recipes_table({"rows": [{"model": "m", "layer": 1, "recipes": each} for each in recipes]})
    assert table["unexplained variance"].tolist() == pytest.approx([0, (-25 + 5) / 2, -50])
    assert table["lower in"].tolist() == ["0 of 2", "1 of 2", "2 of 2"]
    assert table["CE loss score"].tolist() == pytest.approx([0, 0, 0.05])
    assert table["significant"].tolist() == ["0, 0", "0, 1", "2, 0"]
    assert table["higher in"].tolist() == ["0 of 2", "1 of 2", "2 of 2"]
    assert table["build time"].tolist() == pytest.approx([1, 4, 4])
    assert table["coefficients"].tolist() == ["pursuit", "pursuit", "fitted"]
    monkeypatch.setattr(resources, "RECIPES_RESULTS", tmp_path / "nothing.json")
    assert "Recipes, on this" not in text(open_page(with_reports, "/quality", d=first.id, tab="recipes"))
