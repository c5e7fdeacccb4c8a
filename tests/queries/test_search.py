"""Search, order and place of atoms in an index of odd texts, held against the same computed in Python."""

import math
import re
from itertools import pairwise
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from itda_core.queries.atoms import Index
from itda_core.queries.filters import SORTS, AtomFilter
from itda_core.queries.search import INSIDE, NEAR, words_of
from tests.support.small_index import SmallIndex

QUERIES = (
    "the",
    "The array",
    "shape the array",
    '"array of shape"',
    "on reader",
    "a",
    "e e E",
    "ünd",
    "字か",
    "(7,",
    "*",
    '"twice"',
    "\\",
    "$1 ?",
    "\\E.*",
    "[^a]",
    "'quoted'",
    '"',
    "%' OR 1=1 --",
    "no such",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SmallIndex().write(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def index(path: Path) -> Index:
    return Index(path)


@pytest.fixture(scope="module")
def tables(path: Path) -> dict[str, pd.DataFrame]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {name: connection.execute(f"FROM {name}").df() for name in ("atoms", "examples", "tokens")}


def weight(word: str, text: str) -> float:
    """1 for a word that occurs as a whole word, INSIDE for one that does not."""
    at = -1
    while (at := text.find(word, at + 1)) >= 0:
        before, after = text[:at][-1:], text[at + len(word) :][:1]
        if not any(re.match(r"\w\w", pair) for pair in (before + word[0], word[-1] + after)):
            return 1
    return INSIDE


def distance(word: str, atom) -> int:
    before, label, after = (each.lower() for each in (atom.before, atom.label, atom.after))
    found = [len(before) - before.rfind(word) - len(word)] if word in before else []
    found += [after.find(word)] if word in after else []
    return 0 if word in label or not found else min(found)


def expected(tables: dict[str, pd.DataFrame], text: str, scope: str) -> dict[int, tuple[float, int]]:
    """Score and best example of each atom that a search finds."""
    words = sorted({word.lower() for word in words_of(text)})
    atoms = list(tables["atoms"].itertuples())
    sources = {atom.atom: (atom.before + atom.label + atom.after).lower() for atom in atoms}
    rarity = {}
    for word in words:
        having = sum(word in source for source in sources.values())
        rarity[word] = math.log(1 + (len(atoms) - having + 0.5) / (having + 0.5))
    if scope == "context":
        scores: dict[int, dict[int, float]] = {}
        for example in tables["examples"].itertuples():
            context = example.context.lower()
            if all(word in context for word in words):
                score = sum(rarity[word] * weight(word, context) for word in words) / math.log2(1 + example.rank)
                scores.setdefault(example.atom, {})[example.token] = score
        return {atom: (sum(own.values()), max(own, key=lambda at: own[at])) for atom, own in scores.items()}
    found = {}
    for atom in atoms:
        searched = sources[atom.atom] if scope == "source" else atom.label.lower()
        if all(word in searched for word in words):
            away = [distance(word, atom) if scope == "source" else len(atom.label) - len(word) for word in words]
            terms = zip(words, away, strict=True)
            score = sum(rarity[word] * weight(word, searched) * NEAR / (NEAR + far) for word, far in terms)
            found[atom.atom] = score, -1
    return found


@pytest.mark.parametrize("scope", ["source", "token", "context"])
@pytest.mark.parametrize("text", QUERIES)
def test_a_search_finds_all_words_and_the_best_match_first(
    index: Index, tables: dict[str, pd.DataFrame], text: str, scope: str
) -> None:
    where, wanted = AtomFilter(text, scope), expected(tables, text, scope)
    found = index.matching(where, "best", True)
    assert sorted(found["atom"]) == sorted(wanted)
    assert index.count(where) == len(wanted)
    scores = [wanted[atom][0] for atom in found["atom"]]
    assert all(first >= second - 2e-6 for first, second in pairwise(scores))
    best = tables["examples"].set_index(["atom", "token"])["context"]
    for row in found.itertuples():
        if scope == "context":
            assert all(word.lower() in best[row.atom, row.example].lower() for word in words_of(text))
        assert row.example == wanted[row.atom][1]


def test_the_queries_find_something(tables: dict[str, pd.DataFrame]) -> None:
    empty = [text for text in QUERIES if not expected(tables, text, "context")]
    assert empty == ["\\E.*", "[^a]", "%' OR 1=1 --", "no such"]


def test_words_and_phrases() -> None:
    assert words_of("  shape of\tarray ") == ("shape", "of", "array")
    assert words_of('"shape of" array') == ("shape of", "array")
    assert words_of(" ".join(map(str, range(99)))) == (*map(str, range(15)), " ".join(map(str, range(15, 99))))
    assert words_of(" ".join(map(str, range(16)))) == tuple(map(str, range(16)))
    assert words_of('say "hi there') == ("say", '"hi', "there")
    assert words_of('x="a b"') == ('x="a', 'b"')
    assert words_of("The the THE") == ("THE",)
    assert words_of(' "" ') == ()


def test_a_text_without_a_word_finds_every_atom(index: Index) -> None:
    for sort in ("best", "admission"):
        assert index.matching(AtomFilter(' "" '), sort, sort == "best")["atom"].tolist() == list(range(index.n_atoms))


def test_the_text_around_an_example(index: Index, tables: dict[str, pd.DataFrame]) -> None:
    examples = tables["examples"].drop_duplicates("token").set_index("token")
    around = index.surroundings(examples.index.tolist()).set_index("token")
    assert around.index.tolist() == sorted(examples.index)
    assert (around["before"] + around["label"] + around["after"] == examples["context"][around.index]).all()
    assert (around["label"] == tables["tokens"].set_index("token")["text"][around.index]).all()
    assert index.surroundings([10**6]).empty


def test_the_varied_order(index: Index, tables: dict[str, pd.DataFrame]) -> None:
    examples = tables["examples"]
    tenth = examples[examples["rank"] == 10].set_index("atom")["coefficient"].abs()
    atoms = tables["atoms"].set_index("atom", drop=False)
    clarity = {atom: strength * -math.log(atoms["density"][atom]) for atom, strength in tenth.items()}
    ranked, turns = sorted(clarity, key=lambda atom: (-clarity[atom], atom)), {}
    for of in (atoms["document"], atoms["label"].str.strip(" ").str.lower()):
        seen: dict[object, int] = {}
        for atom in ranked:
            seen[of[atom]] = seen.get(of[atom], 0) + 1
            turns[atom] = max(turns.get(atom, 1), seen[of[atom]])
    assert set(turns.values()) > {1, 2}
    ranked.sort(key=lambda atom: (-clarity[atom] / turns[atom], atom))
    rest = sorted(set(range(index.n_atoms)) - set(ranked))
    assert rest
    assert index.matching(AtomFilter(), "varied", True)["atom"].tolist() == ranked + rest
    assert index.page(AtomFilter(), "varied", True, 3, 4)["atom"].tolist() == ranked[3:7]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    "where",
    [
        AtomFilter(),
        AtomFilter("the", "context"),
        AtomFilter("e", "source", density=(0.001, 0.2), strongest=(3.0, 30.0), error=(0.0, 1.0), first=20),
        AtomFilter(atoms=(7, 5, 3, 11)),
    ],
)
def test_places_are_those_of_the_list(index: Index, where: AtomFilter, sort: str) -> None:
    listed = index.matching(where, sort, True)["atom"].tolist()
    assert len(listed) > 2
    assert listed == index.page(where, sort, True, 0, 100)["atom"].tolist()
    for at, atom in enumerate(listed):
        place = index.place(where, sort, True, atom)
        before, after = [None, *listed][at], [*listed, None][at + 1]
        assert place == (at + 1, len(listed), before, after)
    for other in set(range(-1, index.n_atoms + 1)) - set(listed):
        assert index.place(where, sort, True, other) is None


def test_rows_come_in_the_order_asked_for(index: Index) -> None:
    assert index.rows([5, 2, 9])["atom"].tolist() == [5, 2, 9]
    assert index.rows([5]).equals(index.page(AtomFilter(atoms=(5,))))
    assert index.rows([]).empty
