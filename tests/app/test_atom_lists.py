"""Lists of atoms: what a search shows, and how the page of an atom keeps the place in its list."""

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from app.components.token_strip import Token
from app.panels.atoms.rows import marked
from app.state import pages
from app.state.codec import encode
from itda_core.library.library import Library
from itda_core.library.map import read_map
from itda_core.queries.atoms import Index
from itda_core.queries.filters import AtomFilter
from tests.support.page_fixtures import OpenPage, records
from tests.support.shown_pages import atom_links, labels, links, passages, shown, strips


def listed(page: AppTest) -> list[dict]:
    """The rows of the list of atoms."""
    return next(strip["rows"] for strip in strips(page) if "fires on" in strip.get("columns", ()))


def marks(row: dict) -> list[str]:
    return [text for text, _, _, mark in row["tokens"] if "match" in mark]


def step(page: AppTest, name: str):
    return page.button[labels(page).index(name)]


@pytest.fixture
def index(library: Path) -> Index:
    return Index(Library(library).index_path(records(library)[0].id))


# Search


def test_a_search_shows_the_best_match_first_with_its_words_marked(
    open_page: OpenPage, library: Path, index: Index
) -> None:
    page = open_page(library, "/atoms", d=records(library)[0].id, text="THE function")
    assert not page.exception
    assert page.selectbox(key="atoms_sort").value == "best"
    wanted = index.page(AtomFilter("function the"), "best", True)
    assert [int(row["lead"]) for row in listed(page)] == wanted["atom"].tolist()
    for row in listed(page):
        found = "".join(marks(row)).lower()
        assert "the" in found and "function" in found


def test_a_search_of_contexts_shows_the_example_that_matched(open_page: OpenPage, library: Path, index: Index) -> None:
    page = open_page(library, "/atoms", d=records(library)[0].id, text="function the", scope="context")
    assert not page.exception
    assert "Where it fires" in next(strip["columns"] for strip in strips(page) if strip.get("columns"))
    found = index.matching(AtomFilter("function the", "context"), "best", True)[:50]
    sources = index.rows(found["atom"].tolist())
    for row, atom, source in zip(listed(page), found.itertuples(), sources.itertuples(), strict=True):
        context = index.contexts([atom.example], atom.atom)
        centre = context.loc[context["is_centre"], "coefficient"]
        assert not centre.isna().any()  # it fires there
        assert int(row["lead"]) == atom.atom == source.atom
        assert {"the", "function"} <= {each.strip().lower() for each in marks(row)} or "the" in "".join(
            marks(row)
        ).lower()
        assert sum("centre" in mark for *_, mark in row["tokens"]) == 1


def test_a_search_of_tokens_marks_nothing_else(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/atoms", d=records(library)[0].id, text="the", scope="token")
    assert not page.exception
    for row in listed(page):
        assert [mark for *_, mark in row["tokens"] if mark] == ["centre match"]


def test_the_best_match_is_no_choice_without_a_text(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/atoms", d=records(library)[0].id)
    box = page.selectbox(key="atoms_sort")
    assert box.value == "varied"
    assert "best match first" not in box.options
    box.set_value("strongest").run()
    assert page.query_params["sort"] == "strongest"
    page.text_input(key="atoms_text").set_value("the").run()
    assert page.selectbox(key="atoms_sort").value == "strongest"  # it was chosen
    page.selectbox(key="atoms_sort").set_value("best").run()
    assert "sort" not in page.query_params
    page.text_input(key="atoms_text").set_value("").run()
    assert page.selectbox(key="atoms_sort").value == "varied"
    assert not page.exception


def test_marks_of_words() -> None:
    tokens = [Token("a Shape of "), Token("sha", is_centre=True), Token("pes, reshape")]
    assert [(each.text, each.is_match) for each in marked(tokens, ("shape", "of"))] == [
        ("a ", False),
        ("Shape", True),
        (" ", False),
        ("of", True),
        (" ", False),
        ("sha", True),
        ("pe", True),
        ("s, re", False),
        ("shape", True),
    ]
    assert marked(tokens, ()) == tokens
    assert [each.text for each in marked([Token("x(.*)y")], (".*", "("))] == ["x", "(", ".*", ")y"]


# Place in a list


def test_next_and_previous_follow_the_list_of_all_atoms(open_page: OpenPage, library: Path, index: Index) -> None:
    record = records(library)[0]
    first, second = index.page(AtomFilter(), "varied", True)["atom"].tolist()[:2]
    page = open_page(library, "/atom", d=record.id, a=str(first))
    assert step(page, "Previous").disabled
    assert f"1 of {record.n_atoms:,}" in shown(page)
    assert f"atoms?d={record.id}" in links(page)
    step(page, "Next").click().run()
    assert page.query_params["a"] == str(second)
    assert "list" not in page.query_params
    assert page.title[0].value == f"Atom {second}"
    last = index.page(AtomFilter(), "varied", True, record.n_atoms - 1)["atom"].tolist()[0]
    page = open_page(library, "/atom", d=record.id, a=str(last))
    assert step(page, "Next").disabled
    assert f"atoms?d={record.id}&page={-(-record.n_atoms // 50)}" in links(page)


def test_an_atom_keeps_its_place_in_its_list(open_page: OpenPage, library: Path, index: Index) -> None:
    record = records(library)[0]
    places = read_map(Library(library).map_path(record.id), record.n_atoms)
    assert places is not None
    x, low, high = f"{places['x'].median():.3f}", f"{places['y'].min() - 1:.3f}", f"{places['y'].max() + 1:.3f}"
    left = f"{places['x'].min() - 1:.3f}"
    inside = tuple(int(atom) for atom in places["atom"][places["x"] < float(x)])
    params = {"text": "e", "scope": "context", "sort": "densest", "strongest": "0~1e9"}
    params["region"] = f"{left},{low}~{x},{low}~{x},{high}~{left},{high}"
    wanted = index.matching(AtomFilter("e", "context", strongest=(0, 1e9), atoms=inside), "density", True)
    atoms = wanted["atom"].tolist()
    assert 52 < len(atoms) < record.n_atoms
    page = open_page(library, "/atoms", d=record.id, page="2", **params)
    assert [int(row["lead"]) for row in listed(page)] == atoms[50:100]
    opened = dict(parse_qsl(urlsplit(atom_links(page)[0]).query))
    assert opened.keys() == {"d", "a", "list"}
    page = open_page(library, "/atom", **opened)
    assert not page.exception
    assert f"51 of {len(atoms):,}" in shown(page)
    up = dict(parse_qsl(urlsplit(next(link for link in links(page) if link.startswith("atoms?d="))).query))
    assert up.pop("page") == "2"
    assert dict(parse_qsl(opened["list"])).items() == up.items() - {"d": record.id}.items()
    step(page, "Next").click().run()
    assert page.query_params["a"] == str(atoms[51])
    step(page, "Previous").click().run()
    step(page, "Previous").click().run()
    assert page.query_params["a"] == str(atoms[49])
    assert f"50 of {len(atoms):,}" in shown(page)
    assert not any("page=" in link for link in links(page) if link.startswith("atoms?d="))


def test_an_atom_outside_its_list_says_so(open_page: OpenPage, library: Path) -> None:
    list_ = urlencode(encode(pages.AtomsState(text="no such text *b* <b>")))
    page = open_page(library, "/atom", d=records(library)[0].id, a="0", list=list_)
    assert not page.exception
    assert "not in the list" in shown(page)
    assert step(page, "Previous").disabled and step(page, "Next").disabled


def test_a_bad_list_is_refused(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/atom", d=records(library)[0].id, a="0", list="sort=sideways")
    assert not page.exception
    assert "list" in page.error[0].value


def test_lists_on_the_page_of_an_atom_name_their_atoms(open_page: OpenPage, library: Path, index: Index) -> None:
    page = open_page(library, "/atom", d=records(library)[0].id, a="3", tab="relatives")
    leads = [row["lead"] for strip in strips(page) for row in strip.get("rows", ()) if row["lead"]]
    near, together = index.neighbours(3)["atom"].tolist(), index.cofiring(3)["atom"].tolist()
    assert leads[-len(near) - len(together) :] == [str(atom) for atom in [*near, *together]]
    assert passages(page)
