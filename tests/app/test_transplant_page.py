"""The transplant on the Compare page as Streamlit runs it: offered, shown in either direction, and refused."""

import json
import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.format.text import number, share
from itda_core.common.files import sha256_of
from itda_core.common.parquet import write_table
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.queries.pair_filters import PairFilter
from itda_core.queries.pairs import Pair
from itda_core.reports.comparison import folder_of
from itda_core.reports.transplant import (
    ATOM_COLUMNS,
    ATOM_SCHEMA,
    ATOMS_FILE,
    CONTEXT_SCHEMA,
    CONTEXTS_FILE,
    SUMMARY_FILE,
    Transplant,
    read_transplant,
)
from tests.support.compare_page import bar, listed, pair_of
from tests.support.page_fixtures import OpenPage, records
from tests.support.shown_pages import labels, shown, strips

pytestmark = pytest.mark.usefixtures("bars_are_no_strips")


def lone_atom(root: Path, part: str = "a") -> int:
    """The atom of a side without a twin that fires most."""
    a, b = (Library(root).index_path(each) for each in pair_of(root))
    return int(Pair(a, b, "token").page(PairFilter(part), "density", True)[part].tolist()[0])


def found_in(root: Path) -> tuple[Transplant, DictionaryManifest, DictionaryManifest]:
    a, b = (next(each for each in records(root) if each.id == wanted) for wanted in pair_of(root))
    found = read_transplant(Library(root), a, b)
    assert found is not None
    return found, a, b


@pytest.mark.parametrize("side", ["a", "b"])
def test_where_there_is_none_yet_the_job_is_offered(
    open_page: OpenPage,
    library: Path,
    tmp_path: Path,
    started: list[list[str]],
    side: str,
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b = pair_of(root)
    page = open_page(root, "/compare", d=a, e=b, **{side: str(lone_atom(root, side))})
    assert not page.exception
    assert "No twin, and no match yet" in shown(page)
    page.button[labels(page).index(f"Transplant {side.upper()}'s atoms")].click().run()
    assert started == [["transplant", a, b] if side == "a" else ["transplant", b, a]]


def test_an_atom_without_a_twin_stands_beside_its_transplant(open_page: OpenPage, transplanted: Path) -> None:
    found, a, b = found_in(transplanted)
    atom = lone_atom(transplanted)
    told = found.atom(atom)
    assert told is not None
    page = open_page(transplanted, "/compare", d=a.id, e=b.id, a=str(atom))
    assert not page.exception
    metrics = {metric.label: metric.value for metric in page.metric}
    assert float(metrics["Correlation"].replace("\N{MINUS SIGN}", "-")) == pytest.approx(told.correlation, abs=5e-3)
    assert metrics["Together on"] == f"{told.together:,}"
    of_a, of_b = (Index(Library(transplanted).index_path(each.id)) for each in (a, b))
    sources = [strip["rows"][0]["tokens"] for strip in strips(page) if strip.get("style") == "passage"]
    assert len(sources) == 2
    assert [text for text, *_, mark in sources[0] if mark == "centre"] == [of_a.atom(atom).label]
    # Its contexts, the strongest first; the source is among neither side's.
    lists = [strip["rows"] for strip in strips(page) if strip.get("style") == "list"]
    assert len(lists) == 2
    token, coefficient = (found.examples(atom)[name].tolist()[0] for name in ("token", "coefficient"))
    passage = of_b.contexts([token], -1)
    assert "".join(token[0] for token in lists[1][0]["tokens"])[:5] == "".join(passage["text"])[:5]
    assert float(lists[1][0]["cells"][0]) == pytest.approx(coefficient, rel=0.01)
    marked = [token for token in lists[1][0]["tokens"] if token[3] == "centre"]
    assert len(marked) == 1
    assert marked[0][1] > 0.5
    others = [token for token in of_a.top_examples(atom, 9)["token"].tolist() if token != of_a.atom(atom).token]
    assert len(lists[0]) == min(8, len(others))
    # Nor is it in the figures, which both sides take over the same tokens.
    fires = {share(count / (found.summary.tokens - 1)) for count in (told.fires_a, told.fires)}
    assert {metric.value for metric in page.metric if metric.label == "Fires on"} == fires
    source = of_a.atom(atom)
    elsewhere = of_a.activations(atom)
    elsewhere = elsewhere[(elsewhere["document"] != source.document) | (elsewhere["position"] != source.position)]
    assert metrics["Strongest"] == number(elsewhere["coefficient"].abs().max())
    assert "The source itself is left out" in shown(page)


def test_without_a_transplant_the_atom_is_shown_with_its_source(open_page: OpenPage, library: Path) -> None:
    a, b = pair_of(library)
    of_a = Index(Library(library).index_path(a))
    atom = lone_atom(library)
    page = open_page(library, "/compare", d=a, e=b, a=str(atom))
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Fires on"] == share(of_a.atom(atom).density)
    assert metrics["Strongest"] == number(of_a.atom(atom).strongest)
    assert "The source itself is left out" not in shown(page)


def test_beside_its_twin_an_atom_has_a_transplant_too(open_page: OpenPage, transplanted: Path) -> None:
    found, a, b = found_in(transplanted)
    path_a, path_b = (Library(transplanted).index_path(each.id) for each in (a, b))
    pair = Pair(path_a, path_b, "token")
    twins = pair.page(PairFilter("both"), "density", True)
    x, y = int(twins["a"].tolist()[0]), int(twins["b"].tolist()[0])
    page = open_page(transplanted, "/compare", d=a.id, e=b.id, a=str(x), b=str(y))
    assert "The same source" in shown(page)
    page.segmented_control(key="compare_beside").set_value("a").run()
    assert not page.exception
    assert page.query_params["beside"] == "a"
    told = found.atom(x)
    assert told is not None
    assert {metric.label: metric.value for metric in page.metric}["Together on"] == f"{told.together:,}"
    # The other direction was not computed. Swapped, the atom is B's, and what is looked at stays.
    page.segmented_control(key="compare_beside").set_value("b").run()
    assert "Transplant B's atoms" in labels(page)
    page.segmented_control(key="compare_beside").set_value("a").run()
    page.button(key="swap").click().run()
    assert not page.exception
    assert (page.query_params["beside"], page.query_params["b"]) == ("b", str(x))
    assert {metric.label: metric.value for metric in page.metric}["Together on"] == f"{told.together:,}"


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("token", "No transplant: B did not capture that token."),
        ("characters", "No transplant: no token that B captured ends at the same character."),
    ],
)
def test_an_atom_without_a_transplant_says_why(
    open_page: OpenPage, transplanted: Path, tmp_path: Path, key: str, line: str
) -> None:
    root = tmp_path / "library"
    shutil.copytree(transplanted, root)
    found, a, b = found_in(root)
    atom = lone_atom(root)
    folder = folder_of(Library(root), a, b)
    kept = {name: found.atoms[name].where(found.atoms["atom"] != atom) for name in ATOM_COLUMNS[1:]}
    atoms = found.atoms.assign(**kept)
    write_table(atoms, folder / ATOMS_FILE, ATOM_SCHEMA)
    write_table(found.contexts[found.contexts["atom"] != atom], folder / CONTEXTS_FILE, CONTEXT_SCHEMA)
    said = json.loads((folder / SUMMARY_FILE).read_text())
    correlations = atoms["correlation"].dropna().astype(float)
    told = {"transplanted": said["transplanted"] - 1, "compared": len(correlations)}
    said |= {"key": key, **told, "silent": int((atoms["fires"] == 0).sum()), "correlation": correlations.median()}
    said["files"] = {name: sha256_of(folder / name) for name in (ATOMS_FILE, CONTEXTS_FILE)}
    (folder / SUMMARY_FILE).write_text(json.dumps(said))
    page = open_page(root, "/compare", d=a.id, e=b.id, a=str(atom))
    assert not page.exception
    assert line in shown(page)
    # Nothing stands beside it, so its source is among what is said of it.
    metrics = {metric.label: metric.value for metric in page.metric}
    assert metrics["Fires on"] == share(Index(Library(root).index_path(a.id)).atom(atom).density)


def test_the_bar_leads_away_from_the_transplant(open_page: OpenPage, transplanted: Path) -> None:
    a, b = pair_of(transplanted)
    path_a, path_b = (Library(transplanted).index_path(each) for each in (a, b))
    twins = Pair(path_a, path_b, "token").page(PairFilter("both"))
    address = {"a": str(twins["a"][1]), "b": str(twins["b"][1]), "beside": "a"}
    page = open_page(transplanted, "/compare", d=a, e=b, **address)
    assert "A's atom and its transplant" in shown(page)
    follow = {part["part"]: dict(parse_qsl(urlsplit(part["href"]).query)) for part in bar(page)}
    assert follow["both"] == {"d": a, "e": b}
    page = open_page(transplanted, "/compare", **follow["both"])
    pair = dict(parse_qsl(urlsplit(listed(page, "Source of both")[0]["href"]).query))
    assert pair.keys() == {"d", "e", "a", "b"}
    assert "The same source" in shown(open_page(transplanted, "/compare", **pair))


def test_a_damaged_transplant_is_said_in_one_line(open_page: OpenPage, transplanted: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(transplanted, root)
    _, a, b = found_in(root)
    summary = folder_of(Library(root), a, b) / SUMMARY_FILE
    said = json.loads(summary.read_text())
    summary.write_text(json.dumps(said | {"relative_error": -1}))
    page = open_page(root, "/compare", d=a.id, e=b.id, a=str(lone_atom(root)))
    assert not page.exception
    assert "is damaged" in shown(page)
