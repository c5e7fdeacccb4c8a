"""The Compare page as Streamlit runs it: before the job and after it, its lists, two atoms together, and refusals."""

import json
import shutil
from itertools import combinations
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from itda_core.common.errors import UserError
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.queries.pair_filters import PairFilter
from itda_core.queries.pairs import Pair
from itda_core.reports.comparison import SUMMARY_FILE, folder_of, read_measures
from tests.support.compare_page import bar, listed, pair_of
from tests.support.page_fixtures import OpenPage, follow, records
from tests.support.shown_pages import labels, links, passages, shown, strips

pytestmark = pytest.mark.usefixtures("bars_are_no_strips")


def opened(root: Path, key: str = "token") -> Pair:
    a, b = (Library(root).index_path(each) for each in pair_of(root))
    return Pair(a, b, key)


def test_the_bar_and_the_lists_need_no_job(open_page: OpenPage, library: Path) -> None:
    a, b = pair_of(library)
    counts = opened(library).counts()
    page = open_page(library, "/compare", d=a, e=b)
    assert not page.exception
    assert [(part["part"], part["count"]) for part in bar(page)] == [
        ("a", f"{counts.a:,}"),
        ("both", f"{counts.both:,}"),
        ("b", f"{counts.b:,}"),
    ]
    assert f"{counts.both:,} pairs" in shown(page)
    assert "Compute chance and matches" in labels(page)
    rows = listed(page, "Source of both")
    wanted = opened(library).page(PairFilter("both"), "strongest", True, limit=30)
    assert [[href for _, href, _ in row["links"]] for row in rows] == [
        [f"atom?d={a}&a={x}", f"atom?d={b}&a={y}"] for x, y in zip(wanted["a"], wanted["b"], strict=True)
    ]
    assert rows[0]["href"] == f"compare?d={a}&e={b}&a={wanted['a'][0]}&b={wanted['b'][0]}"


def test_the_job_is_started_from_the_page(
    open_page: OpenPage,
    library: Path,
    tmp_path: Path,
    started: list[list[str]],
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b = pair_of(root)
    page = open_page(root, "/compare", d=a, e=b)
    page.button[labels(page).index("Compute chance and matches")].click().run()
    assert started == [["compare", a, b]]


def test_a_job_that_failed_says_why(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b = pair_of(root)
    with pytest.raises(UserError), running_job(root, "Compare", "20990101-000000-abcdef"):
        raise UserError("the disk is full: make room")
    (root / "jobs" / "20990101-000000-abcdef" / "command.json").write_text(json.dumps(["compare", a, b]))
    page = open_page(root, "/compare", d=a, e=b)
    assert "the disk is full" in shown(page).replace("\\", "")
    assert "Compute chance and matches" in labels(page)


def test_what_the_job_found_is_shown(open_page: OpenPage, compared: Path) -> None:
    a, b = pair_of(compared)
    said = json.loads(next((compared / "comparisons").glob(f"{a}--{b}-*/comparison.json")).read_text())
    page = open_page(compared, "/compare", d=a, e=b)
    assert not page.exception
    assert "Compute chance and matches" not in labels(page)
    metrics = {metric.label: metric.value for metric in page.metric}
    assert float(metrics["Shared sources (IoU)"]) == pytest.approx(said["jaccard"], abs=1e-3)
    assert float(metrics["By chance"]) == pytest.approx(said["chance"], rel=0.06)
    assert " to " in metrics["95 % interval"]
    assert "Best matches of atoms without a twin" not in shown(page)
    page = open_page(compared, "/compare", d=a, e=b, tab="changes")
    assert "Best matches of atoms without a twin" in shown(page)
    assert "What changed from A to B" in shown(page)
    match = listed(page, "Atom of A over atom of B")[0]
    assert match["sides"] == "ab"
    assert match["below"]
    assert len(match["links"]) == 2


@pytest.mark.parametrize("part", ["a", "b"])
def test_atoms_of_one_side_lead_to_both_atom_pages(open_page: OpenPage, compared: Path, part: str) -> None:
    a, b = pair_of(compared)
    page = open_page(compared, "/compare", d=a, e=b, part=part, sort="matched")
    assert not page.exception
    first = listed(page, f"Source in {part.upper()}")[0]
    hrefs = [href for _, href, _ in first["links"]]
    assert [href.partition("&")[0] for href in hrefs] == [f"atom?d={a}", f"atom?d={b}"]
    assert [side for _, _, side in first["links"]] == ["a", "b"]
    assert next(each for each in bar(page) if each["current"])["part"] == part


def test_one_search_filters_both_sides(open_page: OpenPage, library: Path) -> None:
    a, b = pair_of(library)
    page = open_page(library, "/compare", d=a, e=b, part="a", page="2")
    page.text_input(key="compare_text").set_value("class").run()
    assert not page.exception
    assert page.query_params["text"] == "class"
    assert "page" not in page.query_params
    counts = opened(library).counts("class")
    assert [part["note"] for part in bar(page)] == [f"{n:,} found" for n in (counts.a, counts.both, counts.b)]
    assert f"{counts.a:,} atoms" in shown(page)
    page.text_input(key="compare_text").set_value("no such text anywhere").run()
    assert "Nothing found" in shown(page)
    page.button[labels(page).index("Clear")].click().run()
    assert "text" not in page.query_params


def test_twins_stand_side_by_side(open_page: OpenPage, compared: Path) -> None:
    a, b = pair_of(compared)
    first = opened(compared).page(PairFilter("both")).iloc[0]
    page = open_page(compared, "/compare", d=a, e=b, a=str(first["a"]), b=str(first["b"]))
    assert not page.exception
    assert "The same source" in shown(page)
    assert f"compare?d={a}&e={b}" in links(page)
    assert {f"atom?d={a}&a={first['a']}", f"atom?d={b}&a={first['b']}"} <= set(links(page))
    source = next(strip for strip in strips(page) if strip.get("style") == "passage")
    assert first["a_label"].strip() in "".join(token[0] for token in source["rows"][0]["tokens"])
    assert len([metric for metric in page.metric if metric.label == "Strongest"]) == 2


def test_an_atom_alone_is_shown_with_its_best_match(open_page: OpenPage, compared: Path, library: Path) -> None:
    a, b = pair_of(compared)
    library_, pair_records = Library(compared), [Library(compared).record(each) for each in (a, b)]
    measured = Pair(*(library_.index_path(each) for each in (a, b)), "token", read_measures(library_, *pair_records))
    listed_a = measured.page(PairFilter("a"), "match", True, limit=9999)
    lone, unlike = int(listed_a["a"].iloc[0]), listed_a["a"][listed_a["a_other"].isna()].tolist()
    page = open_page(compared, "/compare", d=a, e=b, a=str(lone))
    assert not page.exception
    assert "Best match: r" in shown(page)
    for atom in unlike[:1]:
        page = open_page(compared, "/compare", d=a, e=b, a=str(int(atom)))
        assert "No atom of B fires together with it on 5 tokens" in shown(page)
    before = open_page(library, "/compare", d=a, e=b, a=str(lone))
    assert not before.exception
    assert "No twin, and no match yet" in shown(before)


def test_a_dictionary_can_be_held_against_itself(open_page: OpenPage, library: Path) -> None:
    a, _ = pair_of(library)
    page = open_page(library, "/compare", d=a, e=a)
    assert not page.exception
    assert "the same dictionary" in page.info[0].value
    assert [part["count"] for part in bar(page)][::2] == ["0", "0"]
    page = open_page(library, "/compare", d=a, e=a, part="a")
    assert "every atom of this dictionary has a twin" in shown(page)


def test_without_two_dictionaries_the_page_is_a_chooser(open_page: OpenPage, library: Path) -> None:
    a, b = pair_of(library)
    page = open_page(library, "/compare", d=a)
    assert not page.exception
    assert page.selectbox(key="chosen_a").value == a
    assert "compared already" not in shown(page)
    assert f"compare?d={a}&e={b}" in links(page)
    page = follow(page.selectbox(key="chosen_b").select(b).run())
    assert (page.query_params["d"], page.query_params["e"]) == (a, b)
    page.button(key="swap").click().run()
    assert (page.query_params["d"], page.query_params["e"]) == (b, a)
    assert not page.exception


def test_an_empty_page_leads_to_what_was_compared_already(open_page: OpenPage, compared: Path) -> None:
    a, b = pair_of(compared)
    for first, second in ((a, b), (b, a)):
        page = open_page(compared, "/compare", d=first)
        assert not page.exception
        assert "These were compared already" in shown(page)
        assert links(page)[0] == f"compare?d={first}&e={second}"


def test_of_many_that_were_compared_the_first_are_listed(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    first = records(root)[0].id
    for n in range(7 - len(records(root))):
        folder = root / "dictionaries" / f"copy-{n}"
        shutil.copytree(root / "dictionaries" / first, folder)
        said = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(said | {"id": folder.name}))
    ids = [record.id for record in records(root)]
    here = Library(root)
    for a, b in combinations(ids, 2):
        for pair in ((a, b), (b, a)):
            folder = folder_of(here, *map(here.record, pair))
            folder.mkdir(parents=True)
            (folder / SUMMARY_FILE).touch()
    # Of a chosen dictionary, only those it is in, each once and on its side.
    for side, other in (("d", "e"), ("e", "d")):
        page = open_page(root, "/compare", **{side: ids[2]})
        found = [dict(parse_qsl(urlsplit(href).query)) for href in links(page)]
        assert [each[side] for each in found] == [ids[2]] * (len(ids) - 1)
        assert sorted(each[other] for each in found) == sorted({*ids} - {ids[2]})


def test_swapped_dictionaries_need_no_job_of_their_own(open_page: OpenPage, compared: Path) -> None:
    a, b = pair_of(compared)
    metrics = {}
    for first, second in ((a, b), (b, a)):
        page = open_page(compared, "/compare", d=first, e=second, part="a", sort="matched")
        assert not page.exception
        assert "Compute chance and matches" not in labels(page)
        metrics[first] = [metric.value for metric in page.metric]
    assert metrics[a] == metrics[b]
    here = Library(compared)
    best = read_measures(here, here.record(b), here.record(a))
    assert best is not None
    alone = opened(compared).page(PairFilter("b"), limit=9999)["b"]
    correlations = best.a.set_index("atom").loc[alone, "correlation"]
    assert listed(page, "Source in A")[0]["cells"][3] == f"{correlations.max():.2f}"


def test_what_cannot_be_shown_says_why(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    a, b = pair_of(library)
    assert "there is no dictionary" in shown(open_page(library, "/compare", d=a, e="other")).replace("\\", "").lower()
    assert "no atom 999999" in shown(open_page(library, "/compare", d=a, e=b, a="999999")).replace("\\", "")
    page = open_page(library, "/compare", d=a, e=b, part="c")
    assert "must be one of" in shown(page).replace("\\", "")
    page.button[labels(page).index("Start without filters")].click().run()
    assert dict(page.query_params) == {"d": a, "e": b}
    root = tmp_path / "library"
    shutil.copytree(library, root)
    manifest = Library(root).folder(b) / "manifest.json"
    corpus = records(root)[0].corpus
    manifest.write_text(manifest.read_text().replace(f'"corpus": "{corpus}"', '"corpus": "another"'))
    page = open_page(root, "/compare", d=a, e=b)
    assert "choose two dictionaries of one corpus" in shown(page).replace("\\", "")


def test_hostile_text_stays_text(open_page: OpenPage, hostile: Path) -> None:
    only = records(hostile)[0].id
    page = open_page(hostile, "/compare", d=only, e=only, text="<b>")
    assert not page.exception
    assert any("<b>" in passage for passage in passages(page))
    assert "<b>" not in "".join(str(element.value) for element in page.markdown)


def test_an_atom_leads_to_its_twin_side_by_side(open_page: OpenPage, library: Path) -> None:
    a, b = pair_of(library)
    first = opened(library).page(PairFilter("both")).iloc[0]
    page = open_page(library, "/atom", d=a, a=str(first["a"]), tab="relatives")
    found = [href for strip in strips(page) for row in strip.get("rows", []) for _, href, _ in row["links"]]
    assert f"compare?d={a}&e={b}&a={first['a']}&b={first['b']}" in found


def test_two_cells_of_the_library_are_compared(open_page: OpenPage, library: Path) -> None:
    a, _ = pair_of(library)
    page = open_page(library, click="compare")
    assert "Select dictionary A" in shown(page)
    page = open_page(library, click="compare", first=a)
    assert "Select dictionary B" in shown(page)
    page.segmented_control(key="library_click").set_value("open").run()
    assert "first" not in page.query_params
