"""The page that decomposes a text, as Streamlit runs it, and the passage that two dictionaries decompose."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app import resources
from app.components.passage_strip import Group, Piece, _shown, scale_of
from app.format.tables import csv_of
from app.format.text import visible
from app.panels.compare import passage as compare_passage
from app.panels.decompose import overview, passage
from app.state import codec
from itda_core.common.types import Document
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from tests.support.page_fixtures import OpenPage, follow, records
from tests.support.places import MODEL_A
from tests.support.shown_pages import labels, links, pages_of, shown, strips

TEXT = "The list comprehension returns a new list 迭 <img src=x onerror=alert(1)>"


def of(root: Path, model: str, layer: int) -> DictionaryManifest:
    return next(each for each in records(root) if (each.model, each.site.layer) == (model, layer))


def passage_data(page: AppTest) -> dict:
    """Data of the one passage on the page."""
    (data,) = (each for each in strips(page) if "groups" in each)
    return data


def term_rows(page: AppTest) -> list[dict]:
    (rows,) = (each["rows"] for each in strips(page) if "coefficient" in each.get("columns", ()))
    return rows


def test_without_a_dictionary_it_takes_the_first(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/decompose")
    assert not page.exception
    assert dict(page.query_params) == {"d": records(library)[0].id}
    assert page.selectbox(key="chosen_a").value == records(library)[0].id


def test_it_opens_with_a_form_and_decomposes_what_is_typed(open_page: OpenPage, library: Path) -> None:
    record = of(library, "docs-a", 3)
    page = open_page(library, "/decompose", d=record.id)
    assert not page.exception
    assert not [each for each in strips(page) if "groups" in each]
    page.text_area(key="decompose_text").set_value(TEXT)
    page.button[labels(page).index("Decompose")].click().run()
    assert not page.exception
    assert page.query_params == {"d": record.id, "text": TEXT}
    groups = passage_data(page)["groups"]
    found = resources.decomposition(record.id, TEXT)
    assert len(groups) == len(found.tokens)
    assert "".join(group["lines"][0][0][0] for group in groups) == TEXT.replace("迭", "迭·2·3")
    assert groups[0]["key"] is None and groups[1]["key"] == 1


def test_a_link_opens_a_token_with_its_terms_and_the_residual(open_page: OpenPage, library: Path) -> None:
    record = of(library, "docs-a", 3)
    page = open_page(library, "/decompose", d=record.id, text=TEXT, t="3")
    assert not page.exception
    found = resources.decomposition(record.id, TEXT)
    terms = found.terms_of(3)
    *rows, residual = term_rows(page)
    assert [row["href"] for row in rows] == [f"atom?d={record.id}&a={atom}" for atom in terms.atom]
    signs = ["+" if value > 0 else "\N{MINUS SIGN}" for value in terms.coefficient]
    assert [row["cells"][1][0] for row in rows] == signs
    tints = [token[1] for row in rows for token in row["tokens"] if token[1]]
    assert np.allclose(tints, terms.coefficient / np.abs(terms.coefficient).max(), atol=1e-3)
    assert residual["href"] is None
    assert [group["key"] for group in passage_data(page)["groups"] if group["chosen"]] == [3]
    # Sources are those of the index.
    sources = resources.index(record.id).sources(terms.atom.tolist())
    assert [row["tokens"][1][0] for row in rows] == [visible(label) or "∅" for label in sources["label"]]


def test_next_and_previous_step_over_tokens_that_are_left_out(open_page: OpenPage, library: Path) -> None:
    record = of(library, "docs-a", 3)
    page = open_page(library, "/decompose", d=record.id, text="a b c")
    assert page.button[labels(page).index("Previous")].disabled
    for expected in ("1", "2"):
        page.button[labels(page).index("Next")].click().run()
        assert page.query_params["t"] == [expected] or page.query_params["t"] == expected
    assert page.button[labels(page).index("Next")].disabled
    page.button[labels(page).index("Previous")].click().run()
    assert not page.button[labels(page).index("Next")].disabled


def test_another_dictionary_keeps_text_and_token(open_page: OpenPage, library: Path) -> None:
    first, second = of(library, "docs-a", 3), of(library, "docs-a", 1)
    page = open_page(library, "/decompose", d=first.id, text=TEXT, t="3")
    page = follow(page.selectbox(key="chosen_a").set_value(second.id).run())
    assert not page.exception
    assert page.query_params["d"] in (second.id, [second.id])
    assert term_rows(page)[0]["href"].startswith(f"atom?d={second.id}&a=")


def test_a_dictionary_that_is_gone_by_then_is_told(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    first, second = of(root, "docs-a", 3), of(root, "docs-a", 1)
    page = open_page(root, "/decompose", d=first.id, text=TEXT, t="3")
    shutil.rmtree(Library(root).folder(second.id))
    page = follow(page.selectbox(key="chosen_a").set_value(second.id).run())
    assert not page.exception
    assert dict(page.query_params) == {"d": second.id, "text": TEXT}
    assert "there is no dictionary" in page.error[0].value.replace("\\", "").lower()


def with_tokenizer(root: Path, record: DictionaryManifest, tokenizer_sha256: str) -> None:
    """Let a dictionary's manifest name another tokenizer."""
    path = Library(root).folder(record.id) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_sha256": tokenizer_sha256}))


def test_another_tokenizer_keeps_the_text_only(open_page: OpenPage, library: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    first, second = of(root, "docs-a", 3), of(root, "docs-b", 3)
    with_tokenizer(root, second, "0" * 64)
    page = open_page(root, "/decompose", d=first.id, text=TEXT, t="3")
    page = follow(page.selectbox(key="chosen_a").set_value(second.id).run())
    assert not page.exception
    assert dict(page.query_params) == {"d": second.id, "text": TEXT}


def test_one_network_with_two_tokenizers_is_two_models(
    library: Path, build_library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "models" / "own-model"
    shutil.copytree(MODEL_A, own, ignore=shutil.ignore_patterns("checkpoints"))
    tokenizer = json.loads((own / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": []}  # the same tokens by another tokenizer
    (own / "tokenizer.json").write_text(json.dumps(tokenizer))
    other = build_library(tmp_path / "library", [Document("", TEXT * 3)], model=own)
    (record,) = records(other)
    assert record.weights_sha256 == of(library, "docs-a", 3).weights_sha256
    st.cache_resource.clear()
    monkeypatch.setenv("ITDA_MODELS", str(own.parent))
    monkeypatch.setenv("ITDA_LIBRARY", str(library))
    assert len(resources.decomposition(of(library, "docs-a", 3).id, TEXT).tokens)
    monkeypatch.setenv("ITDA_LIBRARY", str(other))
    assert len(resources.decomposition(record.id, TEXT).tokens)


@pytest.mark.parametrize("token", ["0", "9999"])
def test_a_token_without_terms_says_why(open_page: OpenPage, library: Path, token: str) -> None:
    page = open_page(library, "/decompose", d=of(library, "docs-a", 3).id, text=TEXT, t=token)
    assert not page.exception
    wanted = {"0": "The first token of a window is not captured", "9999": "There is no token 9999"}[token]
    assert wanted in shown(page).replace("\\", "")


def test_a_text_of_one_token_says_so(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/decompose", d=of(library, "docs-a", 3).id, text="a")
    assert not page.exception
    assert "Nothing to decompose" in shown(page)


def test_a_long_text_stays_out_of_the_address_and_survives_a_reload(open_page: OpenPage, library: Path) -> None:
    record = of(library, "docs-a", 3)
    text = "迭代器 and lists. " * 200
    assert not codec.fits_address(text)
    page = open_page(library, "/decompose", d=record.id)
    page.text_area(key="decompose_text").set_value(text)
    page.button[labels(page).index("Decompose")].click().run()
    assert not page.exception
    assert set(page.query_params) == {"d", "kept"}
    assert "too long for a URL" in shown(page)
    assert passage_data(page)["groups"]
    kept = page.query_params["kept"]
    kept = kept if isinstance(kept, str) else kept[0]
    again = AppTest.from_file(page._script_path, default_timeout=30)  # a new session of the same app
    again.run()
    again.switch_page("views/decompose.py")
    again.query_params["d"], again.query_params["kept"] = record.id, kept
    again.run()
    assert again.text_area(key="decompose_text").value == text
    resources._texts.clear()
    again.run()
    assert "Paste it again" in "\n".join(str(each.value) for each in again.info)


def test_a_text_longer_than_what_is_read_says_so(open_page: OpenPage, library: Path) -> None:
    text = "a b " * 2000
    page = open_page(library, "/decompose", d=of(library, "docs-a", 3).id, kept=resources.keep_text(text))
    assert not page.exception
    assert "Only the first 2,048 tokens were read" in shown(page).replace("\\", "")
    assert passage_data(page)["rest"].startswith(" a b")


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({"d": "nothing"}, "there is no dictionary"),
        ({"t": "-1"}, "must be a whole number"),
        ({"text": "x" * (codec.MOST_IN_ADDRESS + 1)}, "at most 4000 characters"),
    ],
)
def test_a_bad_address_is_one_line(open_page: OpenPage, library: Path, params: dict, line: str) -> None:
    page = open_page(library, "/decompose", **{"d": of(library, "docs-a", 3).id, **params})
    assert not page.exception
    assert line.lower() in page.error[0].value.replace("\\", "").lower()


def test_a_model_that_is_not_the_same_is_one_line_and_the_form_stays(open_page: OpenPage, damaged: Path) -> None:
    record = records(damaged)[0]
    path = damaged / "dictionaries" / record.id / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": "0" * 64}))
    page = open_page(damaged, "/decompose", d=record.id, text=TEXT)
    assert not page.exception
    assert "are not those that" in page.error[0].value.replace("\\", "")
    assert page.text_area(key="decompose_text").value == TEXT


def test_it_is_reached_from_the_library_the_atoms_and_an_atom(open_page: OpenPage, library: Path) -> None:
    record = of(library, "docs-a", 3)
    assert pages_of(open_page(library, "/atoms", d=record.id))["Decompose"]["href"] == f"decompose?d={record.id}"
    (address,) = (each for each in links(open_page(library, "/atom", d=record.id, a="5")) if "decompose?" in each)
    atom = resources.index(record.id).atom(5)
    assert parse_qs(urlsplit(address).query)["text"] == [atom.before + atom.label + atom.after]


def test_an_empty_text_is_asked_for_again(open_page: OpenPage, library: Path) -> None:
    page = open_page(library, "/decompose", d=of(library, "docs-a", 3).id)
    page.text_area(key="decompose_text").set_value("  \n")
    page.button[labels(page).index("Decompose")].click().run()
    assert not page.exception
    assert "type or paste some first" in page.warning[0].value
    assert "text" not in page.query_params
    page.text_area(key="decompose_text").set_value("a b c")
    page.button[labels(page).index("Decompose")].click().run()
    assert not page.warning and page.query_params["text"] == "a b c"


def test_tables_of_all_tokens_and_of_all_atoms(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITDA_LIBRARY", str(library))
    record = of(library, "docs-a", 3)
    found = resources.decomposition(record.id, TEXT)
    captured = [at for at, token in enumerate(found.tokens) if token.row is not None]
    tokens = overview.tokens_table(found, captured)
    assert sorted(tokens["token"]) == captured
    assert tokens["error"].is_monotonic_decreasing
    assert tokens["atoms"].sum() == len(found.terms.atom)
    atoms = overview.atoms_table(passage.terms_table(record.id, found, captured))
    assert set(atoms["atom"]) == {*found.terms.atom.tolist()}
    assert atoms["weight"].sum() == pytest.approx(np.abs(found.terms.coefficient).sum(), rel=1e-5)
    assert atoms["weight"].is_monotonic_decreasing
    first = atoms.iloc[0]
    own = found.terms.atom == first["atom"]
    assert first["tokens"] == own.sum()
    assert first["strongest"] == pytest.approx(np.abs(found.terms.coefficient[own]).max())


def test_all_terms_can_be_downloaded(open_page: OpenPage, library: Path) -> None:
    record = of(library, "docs-a", 3)
    open_page(library, "/decompose", d=record.id, text=TEXT)
    found = resources.decomposition(record.id, TEXT)
    captured = [at for at, token in enumerate(found.tokens) if token.row is not None]
    table = passage.terms_table(record.id, found, captured)
    assert len(table) == len(found.terms.atom)
    assert table["coefficient"].to_numpy() == pytest.approx(found.terms.coefficient)
    rows = list(csv.DictReader(io.StringIO(csv_of(table))))
    assert len(rows) == len(table)
    index = resources.index(record.id)
    for row in rows[:: len(rows) // 5]:
        atom = index.atom(int(row["atom"]))
        assert (row["label"].lstrip("'"), int(row["document"])) == (atom.label.lstrip("'"), atom.document)


@pytest.mark.parametrize(
    ("errors", "scale"), [([], 0.05), ([0.04], 0.05), ([0.1, 0.11], 0.2), ([0.7], 0.8), ([1.2], 1)]
)
def test_the_legend_ends_at_a_round_number(errors: list[float], scale: float) -> None:
    assert scale_of(errors) == scale


# One passage, two dictionaries

PASSAGE_PAGE = """
import streamlit as st
from app.panels.compare.passage import passage
from app.state.pages import CompareState
passage(CompareState(st.query_params["d"], st.query_params["e"]), st.query_params["text"], print)
"""


@pytest.fixture
def two(library: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """A page with nothing but the passage."""
    monkeypatch.setenv("ITDA_LIBRARY", str(library))
    monkeypatch.chdir(Path(__file__).parents[2])
    page = AppTest.from_string(PASSAGE_PAGE, default_timeout=30)
    page.query_params["d"], page.query_params["e"] = of(library, "docs-a", 3).id, of(library, "docs-b", 3).id
    page.query_params["text"] = TEXT
    return page


def test_two_dictionaries_decompose_one_passage(library: Path, two: AppTest) -> None:
    page = two.run()
    assert not page.exception
    a, b = of(library, "docs-a", 3), of(library, "docs-b", 3)
    data = passage_data(page)
    assert [name.split(": ")[1] for name in data["names"]] == [f"{each.model} · layer 3 resid" for each in (a, b)]
    for side in range(2):
        line = "".join(token[0] for group in data["groups"] for token in group["lines"][side])
        assert line == TEXT.replace("迭", "迭·2·3")
    assert {href.split("&")[0] for href in links(page)} == {f"atom?d={a.id}", f"atom?d={b.id}"}


def test_what_both_saw_is_the_same_source_in_both(library: Path, two: AppTest) -> None:
    page = two.run()
    a, b = (resources.index(of(library, model, 3).id) for model in ("docs-a", "docs-b"))
    counts = [caption.value for caption in page.caption if caption.value.startswith(("In both", "Only in"))]
    assert len(counts) == 4 and counts[0] == counts[2]
    lists = [each["rows"] for each in strips(page) if each.get("columns", [])[:2] == ["Source", "of |x|"]]
    both_a, only_a, both_b, only_b = lists
    for row_a, row_b in zip(both_a, both_b, strict=True):
        places = [
            (found.document, found.position)
            for index, row in ((a, row_a), (b, row_b))
            for found in [index.atom(int(row["href"].rpartition("=")[2]))]
        ]
        assert places[0] == places[1]
    seen_b = set(resources.decomposition(of(library, "docs-b", 3).id, TEXT).terms.atom.tolist())
    for row in only_a:
        atom = a.atom(int(row["href"].rpartition("=")[2]))
        assert b.atom_from(atom.document, atom.position) not in seen_b
    # What only one of them saw leads to its best match on the other side as well.
    ids = [of(library, model, 3).id for model in ("docs-a", "docs-b")]
    for side, rows in (("a", only_a), ("b", only_b)):
        for row in rows:
            ((_, href, _),) = row["links"]
            assert href == f"compare?d={ids[0]}&e={ids[1]}&{side}={row['href'].rpartition('=')[2]}"
    assert not any(row["links"] for row in (*both_a, *both_b))


def test_what_is_not_read_is_told_of_one_and_of_two(library: Path, two: AppTest, open_page: OpenPage) -> None:
    a, b = of(library, "docs-a", 3), of(library, "docs-b", 3)
    text = "a b " * 2000 + "迭"
    page = open_page(library, "/compare", d=a.id, e=b.id, kept=resources.keep_text(text))
    assert not page.exception
    assert "Only the first 2,048 tokens were read; the other " in shown(page).replace("\\", "")
    assert "The text was read in 16 windows" in shown(page)
    assert passage_data(page)["rest"].endswith(" …")
    found = [resources.decomposition(each.id, text) for each in (a, b)]
    page = open_page(library, "/decompose", d=a.id, kept=resources.keep_text(text))
    assert passage_data(page)["rest"].replace("↵\n", "\n") == passage.unread(found)
    two.query_params["text"] = "a 迭"
    assert "·2 and ·3 mark" in shown(two.run())


def test_where_one_side_read_less_both_numbers_are_told(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITDA_LIBRARY", str(library))
    a = resources.decomposition(of(library, "docs-a", 3).id, "a b c d e f")
    b = replace(a, tokens=a.tokens[:3], windows=2)
    said: list[str] = []
    monkeypatch.setattr(st, "caption", said.append)
    passage.show_notes([a, b])
    assert "read in 1 (A) and 2 (B) windows" in said[0]
    assert f"Only the first {len(a.tokens)} (A) and 3 (B) tokens were read: the last columns" in said[0]
    assert passage.unread([a, b]) == ""


def test_who_listens_learns_whose_error_is_whose() -> None:
    a = [Piece("foo", "foo", 0.2)]
    b = [Piece("fo", "fo", 0.3), Piece("o", "o", 0.1)]
    first = Piece("x", "x", None)
    assert _shown(Group([a, b], 0), 1.0)["label"] == "A foo, error 0.200 | B foo, errors 0.300 and 0.100"
    assert _shown(Group([a], 0), 1.0)["label"] == "foo, error 0.200"
    assert _shown(Group([[first], []], 0), 1.0)["label"] == "A x, not captured | B nothing"
    mixed = _shown(Group([[first, *b], a], 0), 1.0)["label"]
    assert mixed == "A xfoo, errors not captured, 0.300 and 0.100 | B foo, error 0.200"


def test_by_characters_only_the_last_token_of_a_character_is_what_both_saw(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_resource.clear()
    monkeypatch.setenv("ITDA_LIBRARY", str(hostile))
    (a,) = records(hostile)
    b = replace(a, tokenizer_sha256="0" * 64)  # the same atoms, held against each other as those of two tokenizers
    atoms = range(a.n_atoms)
    sources = resources.index(a.id).sources(list(atoms))
    last = set(sources.sort_values("position").groupby(["document", "stop"])["atom"].last().tolist())
    assert len(last) < a.n_atoms  # some atoms are earlier bytes of a character of which the last is one too
    of_a, of_b = compare_passage._keys([a, b], [list(atoms), list(atoms)])
    assert all(of_b[atom] == of_a[atom] for atom in resources.pair(a, b).twins())
    assert not {of_a[atom] for atom in atoms if atom not in last} & set(of_b.values())
    of_a, of_b = compare_passage._keys([a, a], [list(atoms), list(atoms)])
    assert of_a == of_b


def test_the_compare_page_keeps_a_long_passage(library: Path, open_page: OpenPage) -> None:
    a, b = of(library, "docs-a", 3), of(library, "docs-b", 3)
    text = "迭代器 and lists. " * 200
    page = open_page(library, "/compare", d=a.id, e=b.id, tab="passage")
    page.text_area(key="compare_passage").input(text)
    next(button for button in page.button if button.label == "Decompose").click().run()
    assert not page.exception
    assert set(page.query_params) == {"d", "e", "kept", "tab"}
    assert not page.toast
    assert passage_data(page)["groups"]
    assert page.text_area(key="compare_passage").value == text
    assert "too long for a URL" in shown(page)
    page.text_area(key="compare_passage").input(TEXT)
    next(button for button in page.button if button.label == "Decompose").click().run()
    assert set(page.query_params) == {"d", "e", "passage", "tab"}
    gone = open_page(library, "/compare", d=a.id, e=b.id, kept="0" * 32)
    assert not gone.exception
    assert "Paste it again" in gone.info[0].value


def test_the_compare_page_decomposes_a_passage_with_both(library: Path, open_page) -> None:
    a, b = of(library, "docs-a", 3), of(library, "docs-b", 3)
    page = open_page(library, "/compare", d=a.id, e=b.id, part="a", page="2", tab="passage")
    assert not page.exception
    page.text_area(key="compare_passage").input(TEXT)
    next(button for button in page.button if button.label == "Decompose").click().run()
    assert not page.exception
    assert page.query_params["passage"] == TEXT
    assert page.query_params["page"] == "2"  # the list stays where it was
    assert "Sources in the whole passage" in shown(page)
    page = open_page(library, "/compare", d=a.id, e=b.id, passage=TEXT, s="1")
    assert not page.exception
    assert "Sources in “" in shown(page)
