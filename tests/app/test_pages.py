"""The pages as Streamlit runs them: as they open, by link, with bad addresses, and over libraries in trouble."""

import gc
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.format.text import visible
from app.panels import jobs
from itda_core.common.errors import UserError
from itda_core.jobs.job import running_job
from itda_core.jobs.state import JobState
from itda_core.library.library import Library
from itda_core.library.map import read_map
from itda_core.queries.atoms import Index
from itda_core.queries.filters import AtomFilter
from tests.support.page_fixtures import MAIN, OpenPage, follow, records
from tests.support.shown_pages import atom_links, labels, links, pages_of, passages, shown, strips

# As they open


def test_the_library_lists_every_dictionary_with_settings_and_quality(open_page: OpenPage, library: Path) -> None:
    page = open_page(library)
    assert not page.exception
    assert page.title[0].value == "Library"
    assert len(page.get("plotly_chart")) == 1
    for record in records(library):
        assert f"atoms?d={record.id}" in links(page)
    cells = [row["cells"] for strip in strips(page) for row in strip.get("rows", ()) if row["href"]]
    assert all(cell[4:7] == ["0.25 of |x|²", "8", "sequential"] for cell in cells)
    assert records(library)[0].corpus in passages(page)


def test_the_grid_is_coloured_by_the_chosen_measure(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, measure="atoms")
    assert page.segmented_control(key="library_measure").value == "atoms"
    page.segmented_control(key="library_measure").set_value("tokens").run()
    assert page.query_params["measure"] == "tokens"
    assert not page.exception


def test_atoms_open_clear_and_varied_first_with_their_sources(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    index = Index(Library(library).index_path(record.id))
    page = open_page(library, "/atoms", d=record.id)
    assert not page.exception
    assert f"{record.n_atoms:,} of {record.n_atoms:,} atoms" in shown(page)
    wanted = index.page(AtomFilter(), "varied", True)
    assert atom_links(page) == [f"atom?d={record.id}&a={atom}" for atom in wanted["atom"]]
    listed = next(strip for strip in strips(page) if "fires on" in strip.get("columns", ()))
    found = ["".join(token[0] for token in row["tokens"]) for row in listed["rows"]]
    assert found == [visible("".join(row)) for row in wanted[["before", "label", "after"]].to_numpy()]
    assert len(atom_links(page)) == 50


def test_atoms_as_admitted(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    page = open_page(library, "/atoms", d=record.id, sort="admission")
    assert not page.exception
    assert atom_links(page)[:2] == [f"atom?d={record.id}&a={atom}&list=sort%3Dadmission" for atom in (0, 1)]


def test_a_link_to_a_filtered_page_shows_just_that(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    index = Index(Library(library).index_path(record.id))
    page = open_page(library, "/atoms", d=record.id, text="value", sort="strongest", page="1")
    wanted = index.page(AtomFilter(text="value"), "strongest", True)
    assert page.text_input(key="atoms_text").value == "value"
    assert page.selectbox(key="atoms_sort").value == "strongest"
    list_ = "text%3Dvalue%26sort%3Dstrongest"
    assert atom_links(page) == [f"atom?d={record.id}&a={atom}&list={list_}" for atom in wanted["atom"]]


def test_a_filter_goes_to_the_address_and_to_the_first_page(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    page = open_page(library, "/atoms", d=record.id, page="2")
    page.text_input(key="atoms_text").set_value("class").run()
    assert page.query_params["text"] == "class"
    assert "page" not in page.query_params
    assert page.query_params["d"] == record.id
    page.button[-1 if "Clear all" not in labels(page) else labels(page).index("Clear all")].click().run()
    assert "text" not in page.query_params


def test_a_page_past_the_end_shows_the_last(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    page = open_page(library, "/atoms", d=record.id, sort="admission", page="99999")
    assert not page.exception
    assert atom_links(page)[-1].startswith(f"atom?d={record.id}&a={record.n_atoms - 1}&")


def test_nothing_found_says_why_and_what_to_do(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/atoms", d=records(library)[0].id, text="no such text \u202e <b>", density="0.9~1")
    assert not page.exception
    assert "Nothing found" in shown(page)
    assert "no such text" in shown(page)
    assert "clear the filters" in shown(page)


def test_a_region_of_the_map_filters_the_list(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    places = read_map(Library(library).map_path(record.id), record.n_atoms)
    assert places is not None
    middle = places["x"].median()
    low, high = places["y"].min() - 1, places["y"].max() + 1
    left = f"{places['x'].min() - 1:.3f}"
    region = f"{left},{low:.3f}~{middle:.3f},{low:.3f}~{middle:.3f},{high:.3f}~{left},{high:.3f}"
    page = open_page(library, "/atoms", d=record.id, region=region)
    assert not page.exception
    count = int((places["x"] < float(f"{middle:.3f}")).sum())
    assert f"{count:,} of {record.n_atoms:,} atoms" in shown(page)


def test_an_absent_map_is_said_and_offered(
    open_page: OpenPage, library: Path, tmp_path: Path, started: list[list[str]]
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    record = records(root)[0]
    Library(root).map_path(record.id).unlink()
    page = open_page(root, "/atoms", d=record.id)
    assert not page.exception
    assert "no map yet" in shown(page)
    assert len(atom_links(page)) == 50
    page.button[labels(page).index("Compute the map")].click().run()
    assert started == [["map", record.id]]


def test_an_atom_shows_its_source_and_where_it_fires(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    index = Index(Library(library).index_path(record.id))
    atom = index.atom(3)
    page = open_page(library, "/atom", d=record.id, a="3")
    assert not page.exception
    assert page.title[0].value == "Atom 3"
    assert "Source" in [heading.value for heading in page.subheader]
    assert f"token {atom.position}" in shown(page)
    source = next(strip for strip in strips(page) if strip["style"] == "passage")
    assert [token[0] for token in source["rows"][0]["tokens"] if token[3] == "centre"] == [atom.label]
    assert any("fires on" in text.value for text in page.text)
    page = open_page(library, "/atom", d=record.id, a="3", tab="range")
    assert {metric.label for metric in page.metric} >= {"Fires on", "Strongest", "Error when admitted"}


def test_the_tokens_of_an_atom_are_counted_once_they_are_opened(
    open_page: OpenPage, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = Index.token_shares
    monkeypatch.setattr(Index, "token_shares", lambda self, atom: (asked.append(atom), real(self, atom))[1])
    page = open_page(library, "/atom", d=records(library)[0].id, a="3")
    assert not page.exception and not asked
    page.session_state["tokens"] = True
    page.run()
    assert not page.exception and asked == [3]


# Bad addresses


def test_the_same_source_elsewhere_leads_on_whether_or_not_it_became_an_atom(
    open_page: OpenPage, library: Path
) -> None:
    here = next(record for record in records(library) if record.model == "docs-b")
    others = [record for record in records(library) if record.id != here.id]
    index, indexes = Index(Library(library).index_path(here.id)), {}
    for other in others:
        indexes[other.id] = Index(Library(library).index_path(other.id))
    atom = next(  # one that some have and some have not
        atom
        for atom in map(index.atom, range(here.n_atoms))
        if len({each.atom_from(atom.document, atom.position) is None for each in indexes.values()}) == 2
    )
    page = open_page(library, "/atom", d=here.id, a=str(atom.atom), tab="relatives")
    said = shown(page)
    rows = {
        link: (row["cells"], row["href"])
        for strip in strips(page)
        for row in strip.get("rows", ())
        for text, link, _ in row.get("links", ())
        if text == "compare"
    }
    assert len(rows) == len(others)
    for other in others:
        twin = indexes[other.id].atom_from(atom.document, atom.position)
        address = f"compare?d={here.id}&e={other.id}&a={atom.atom}" + ("" if twin is None else f"&b={twin}")
        cells, href = rows[address]
        assert (cells, bool(href)) == ([f"atom {twin}"] if twin is not None else ["no atom"], twin is not None)
    twins = sum(bool(href) for _, href in rows.values())
    assert f"an atom of {twins} of {len(others)} other" in said
    for each in (index, *indexes.values()):
        each.close()


@pytest.mark.parametrize("path", ["/atoms", "/atom"])
def test_an_unknown_dictionary_says_which_there_are(open_page: OpenPage, library: Path, path: str) -> None:
    page = open_page(library, path, d="../../etc/passwd", a="0")
    assert not page.exception
    assert "There is no dictionary" in page.error[0].value
    assert {f"atoms?d={record.id}" for record in records(library)} <= set(links(page))


def test_without_a_dictionary_the_address_is_completed_by_the_first(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/atoms")
    assert not page.exception
    assert dict(page.query_params) == {"d": records(library)[0].id}
    assert atom_links(page)
    page = open_page(library, "/atom", a="3")  # a number means nothing without its dictionary
    assert "names no dictionary" in shown(page)


def test_the_same_pages_are_listed_everywhere(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    first, second, *_ = records(library)
    names = ["Library", "Atoms", "Decompose", "Quality", "Compare", "Similarity", "Build", "Jobs"]
    for path, params in (("/", {}), ("/atoms", {"d": second.id}), ("/atom", {"d": second.id, "a": "1"}), ("/jobs", {})):
        page = open_page(library, path, **params)
        assert not page.exception
        assert list(pages_of(page)) == names
        assert not any(item["reason"] for item in pages_of(page).values())
        assert [name for name, item in pages_of(page).items() if item["is_current"]] == [
            {"/": "Library", "/jobs": "Jobs"}.get(path, "Atoms")
        ]
        chosen = params.get("d", first.id)
        assert pages_of(page)["Decompose"]["href"] == f"decompose?d={chosen}"
    found = pages_of(open_page(tmp_path / "empty"))
    assert list(found) == names
    assert [name for name, item in found.items() if item["reason"]] == names[1:6]


def test_the_chosen_dictionaries_are_kept_from_page_to_page(open_page: OpenPage, library: Path) -> None:
    first, second, third = records(library)
    page = open_page(library, "/atoms", d=second.id)
    page.selectbox(key="chosen_b").set_value(third.id).run()
    assert pages_of(page)["Compare"]["href"] == f"compare?d={second.id}&e={third.id}"
    page.switch_page("views/library.py").run()
    assert page.selectbox(key="chosen_a").value == second.id
    assert pages_of(page)["Similarity"]["href"] == f"similarity?d={second.id}&e={third.id}"
    page.switch_page("views/atoms.py").run()
    assert page.query_params["d"] == second.id
    page = follow(page.selectbox(key="chosen_a").set_value(first.id).run())
    assert page.query_params["d"] == first.id
    assert f"{first.n_atoms:,} of {first.n_atoms:,} atoms" in shown(page)


def test_an_atom_is_reached_by_its_number_or_by_words(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    page = open_page(library, "/decompose", d=record.id)
    page = follow(page.text_input(key="go_to_atom").set_value("7").run())
    assert page.title[0].value == "Atom 7"
    for text in ("value", str(record.n_atoms), "²"):
        page = follow(page.text_input(key="go_to_atom").set_value(text).run())
        assert not page.exception
        assert (page.query_params["d"], page.query_params["text"]) == (record.id, text)


def test_the_jobs_page(open_page: OpenPage, tmp_path: Path) -> None:
    root = tmp_path / "library"
    page = open_page(root, "/jobs")
    assert not page.exception and "None is running now" in shown(page)
    with pytest.raises(UserError), running_job(root, "Build <b>one</b>", "20260101-000000-abcdef"):
        raise UserError("the disk is full: make room")
    with running_job(root, "Compare"):
        page = open_page(root, "/jobs")
        assert not page.exception
        assert pages_of(page)["Jobs"]["badge"] == "1 running"
        assert "the disk is full" in page.error[0].value
    page = open_page(root, "/jobs")
    assert pages_of(page)["Jobs"]["badge"] == "1 failed"
    assert [each.label.replace("\\", "") for each in page.expander] == ["Compare, done", "Build <b>one</b>, failed"]
    page.button[labels(page).index("Dismiss")].click().run()
    assert [each.label.replace("\\", "") for each in page.expander] == ["Build <b>one</b>, failed"]
    page.button[labels(page).index("Dismiss these")].click().run()
    assert not page.expander and not pages_of(page)["Jobs"]["badge"]
    assert len(list((root / "jobs").iterdir())) == 2


def test_a_dictionary_is_removed_on_the_library_page(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    first, *others = (record.id for record in records(root))
    page = open_page(root)
    page.selectbox(key="remove").set_value(first).run()
    assert "Remove it" in labels(page) and Library(root).ids() != others
    page.button[labels(page).index("Remove it")].click().run()
    assert not page.exception
    assert [record.id for record in records(root)] == others
    assert f"atoms?d={first}" not in links(page)


def test_a_failed_job_is_on_the_library_until_it_is_dismissed(
    open_page: OpenPage, library: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    with pytest.raises(UserError), running_job(root, "Build", "20990101-000000-abcdef"):
        raise UserError("the disk is full: make room")
    page = open_page(root)
    assert [badge.value for badge in page.markdown if "Failed" in badge.value]
    page.button[labels(page).index("Dismiss")].click().run()
    assert not [badge.value for badge in page.markdown if "Failed" in badge.value]


@pytest.mark.parametrize("a", ["", "-1", "999999", "1.5", "x"])
def test_a_bad_atom_says_which_there_are(open_page: OpenPage, library: Path, a: str) -> None:
    record = records(library)[0]
    page = open_page(library, "/atom", d=record.id, a=a)
    assert not page.exception
    assert page.error
    if a in ("", "999999"):
        assert f"0 to {record.n_atoms - 1}" in page.error[0].value


def test_a_bad_filter_says_so_and_offers_a_way_out(open_page: OpenPage, library: Path) -> None:
    record = records(library)[0]
    page = open_page(library, "/atoms", d=record.id, sort="sideways")
    assert "sort" in page.error[0].value
    page.button[labels(page).index("Start without filters")].click().run()
    assert not page.error
    assert len(atom_links(page)) == 50


# Libraries in trouble


def test_damaged_dictionaries_are_named_with_what_to_do(open_page: OpenPage, damaged: Path, library: Path) -> None:
    first, second, third = records(library)
    page = open_page(damaged)
    assert not page.exception
    assert second.id.split("-")[0] in page.error[0].value
    assert f"atoms?d={third.id}" in links(page)
    for dictionary in (first, second):
        for path in ("/atoms", "/atom"):
            opened = open_page(damaged, path, d=dictionary.id, a="0")
            assert not opened.exception
            assert "build the dictionary again" in opened.error[0].value or "JSON" in opened.error[0].value
    # The damaged twin of a sound atom is named, and nothing else suffers.
    assert not open_page(damaged, "/atom", d=third.id, a="0").exception


def test_an_empty_library_says_what_to_do(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(tmp_path / "new")
    assert not page.exception
    assert "itda demo" in shown(page)
    assert "Build the demo" in labels(page)
    assert not (tmp_path / "new" / "jobs").exists()


def test_a_first_start_builds_the_demo_once(open_page: OpenPage, tmp_path: Path, started: list[list[str]]) -> None:
    page = open_page(tmp_path / "new", demo=True)
    assert not page.exception
    assert started == [["demo"]]
    page.run()
    open_page(tmp_path / "new", demo=True)
    assert started == [["demo"]]


def test_a_failed_demo_is_not_started_again_by_itself(
    open_page: OpenPage, tmp_path: Path, started: list[list[str]]
) -> None:
    root = tmp_path / "new"
    with pytest.raises(UserError), running_job(root, "Build the *demo*"):
        raise UserError("no room for ![x](http://outside.invalid/x.png)")
    page = open_page(root, demo=True)
    assert not page.exception
    assert started == []
    told = open_page(root, "/jobs").error[0].value
    assert "no room for" in told and "](http" not in told
    page.button[labels(page).index("Try again")].click().run()
    assert started == [["demo"]]


def test_a_folder_that_cannot_be_written_is_said(open_page: OpenPage, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    page = open_page(blocked / "library", demo=True)
    assert not page.exception
    assert "is a file where a folder has to be" in page.error[0].value


def test_a_running_job_is_followed(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    with running_job(root, "Build <b>something</b>") as job:
        job.stage("building", total=100)
        job.advance(40)
        job.state.growth["x"] = [[10.0, 5.0, 0.5], [40.0, 9.0, 0.3]]
        job.finished(records(root)[0].id)
        job._write(force=True)
        page = open_page(root)
        assert not page.exception
        assert page.progress[0].value == 40
        assert "40 of 100 tokens" in page.progress[0].text
        assert "Build <b>something</b>" in shown(page)
        assert any(text.startswith("Read ") for text in passages(page))
        assert len(page.get("plotly_chart")) == 2


def test_a_job_that_says_nothing_yet_can_be_shown() -> None:
    assert jobs.is_running([JobState("x", "starting")])


def test_jobs_are_updated_less_often_the_longer_they_run() -> None:
    def started(seconds: float) -> JobState:
        return JobState("x", "x", started=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat())

    assert [jobs._interval([started(age)]) for age in (0, 10, 20, 50, 70, 1e6)] == [1, 1, 2, 2, 3, 3]
    assert jobs._interval([started(1000), started(5)]) == 1
    assert jobs._interval([started(1000), JobState("y", "y", status="done", started=started(1).started)]) == 3
    for written in ("", "yesterday", "9999-12-31T23:59:59+00:00"):
        assert jobs._interval([JobState("x", "x", started=written)]) == 1


def test_modules_are_left_out_of_collections_once(open_page: OpenPage, library: Path) -> None:
    open_page(library)
    frozen = gc.get_freeze_count()
    assert frozen > 50_000
    open_page(library)
    assert gc.get_freeze_count() <= frozen


# Trust


def test_hostile_text_is_shown_as_text(open_page: OpenPage, hostile: Path) -> None:
    record = records(hostile)[0]
    for page in (
        open_page(hostile),
        open_page(hostile, "/atoms", d=record.id),
        open_page(hostile, "/atoms", d=record.id, text="<script>", scope="context"),
        *(open_page(hostile, "/atom", d=record.id, a=str(a)) for a in range(0, min(record.n_atoms, 40), 5)),
    ):
        assert not page.exception
        for element in (*page.markdown, *page.error, *page.caption, *page.title, *page.button):
            text = getattr(element, "label", None) or element.value
            assert "](http" not in text and "<img" not in text and "<script" not in text, text
        assert not any(character in "".join(passages(page)) for character in "\x01\x1b\u200b\u202e\u2066")


def test_opening_pages_loads_neither_torch_nor_umap(library: Path) -> None:
    record = records(library)[0]
    program = f"""
import os, sys
os.environ |= {{"ITDA_LIBRARY": {str(library)!r}, "ITDA_NO_DEMO": "1"}}
from streamlit.testing.v1 import AppTest
page = AppTest.from_file({str(MAIN)!r}, default_timeout=60).run()
for path, params in (("views/atoms.py", {{"d": {record.id!r}}}), ("views/atom.py", {{"d": {record.id!r}, "a": "1"}}),
                     ("views/compare.py", {{"d": {record.id!r}, "e": {record.id!r}}}),
                     ("views/decompose.py", {{"d": {record.id!r}}}),
                     ("views/similarity.py", {{"d": {record.id!r}, "e": {record.id!r}}}),
                     ("views/build.py", {{"layers": "1,3"}})):
    page.switch_page(path)
    for name, value in params.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception, page.exception
    assert page.title[0].value
print([name for name in ("torch", "transformers", "nnsight", "umap", "numba", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=MAIN.parents[1])
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("place", ["a file", "~no-such-user-here/library"])
def test_a_place_that_cannot_hold_a_library_gives_one_line(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("ITDA_LIBRARY", str(tmp_path / place) if place == "a file" else place)
    page = AppTest.from_file(str(MAIN), default_timeout=30).run()
    assert not page.exception
    assert len(page.error) == 1
    assert "ITDA\\_LIBRARY" in page.error[0].value


def test_an_atom_that_fires_on_its_source_alone(library: Path, tmp_path: Path, open_page: OpenPage) -> None:
    import duckdb

    root = Path(shutil.copytree(library, tmp_path / "library"))
    record = records(root)[0]
    with duckdb.connect(str(Library(root).index_path(record.id))) as connection:
        connection.execute(
            "DELETE FROM activations WHERE atom = 3 AND token <> (SELECT token FROM atoms WHERE atom = 3);"
            "UPDATE atoms SET count = 1, minimum = maximum WHERE atom = 3;"
        )
    page = open_page(root, "/atom", d=record.id, a="3")
    assert not page.exception
    assert "on no other token" in shown(page)
    page = open_page(root, "/atom", d=record.id, a="3", tab="range")
    assert "wherever it fires" in shown(page)
