"""Indexes and maps that are other than they were written: every question ends in an answer or in one line.

ITDA_MUTATIONS says how many of each are tried: 3,000 take the better part of an hour.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from itda_core.common.errors import UserError
from itda_core.common.files import write_json
from itda_core.common.layout import MANIFEST_FILE, MAP_FILE
from itda_core.common.parquet import write_table
from itda_core.interop.copy import adopt
from itda_core.library.library import Library
from itda_core.library.map import SCHEMA, read_map
from itda_core.queries.atoms import Index
from itda_core.queries.filters import SCOPES, AtomFilter
from itda_core.queries.pair_filters import PARTITION, PairFilter
from itda_core.queries.pairs import Pair
from tests.support.index_mutations import mutate_index, mutate_map
from tests.support.places import REPOSITORY
from tests.support.small_index import SmallIndex
from tests.support.small_library import manifest_of, sign

MUTATIONS = int(os.environ.get("ITDA_MUTATIONS", "15"))
A, B = "small-a-l3-resid-0000000000", "small-b-l3-resid-0000000000"
ATOMS = 24
MAIN = REPOSITORY / "app" / "main.py"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of two dictionaries over one corpus, with their maps."""
    root = tmp_path_factory.mktemp("sound")
    small = SmallIndex()
    for name in (A, B):
        folder = root / "dictionaries" / name
        folder.mkdir(parents=True)
        small.write(folder)
        small.dictionary.save(folder)
        n_tokens = sum(len(tokens) for tokens, *_ in small.batches)
        said = manifest_of(name, model=name, n_atoms=ATOMS, d_model=16, n_tokens=n_tokens, history=[], files={})
        write_json(folder / MANIFEST_FILE, said)
        sign(folder)
        places = np.random.default_rng(0).normal(size=(2, ATOMS))
        write_table(pd.DataFrame({"atom": range(ATOMS), "x": places[0], "y": places[1]}), folder / MAP_FILE, SCHEMA)
    return root


@pytest.fixture
def copies(sound: Path, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Copies of it, one after another, each at a new place."""
    made: list[Path] = []

    def copy() -> Path:
        for old in made:
            shutil.rmtree(old, ignore_errors=True)
        made.append(Path(shutil.copytree(sound, tmp_path / f"copy-{len(made)}")))
        return made[-1]

    yield copy


def of_atoms(index: Index) -> list[Callable[[], object]]:
    """What the list and the map of atoms ask, and an export."""
    filters = [AtomFilter("a", scope) for scope in SCOPES]
    return [
        index.ranges,
        index.origins,
        partial(index.codes, 0, 1000),
        partial(index.sources, range(ATOMS)),
        *(partial(ask, where) for ask in (index.count, index.matching) for where in filters),
        *(partial(index.page, AtomFilter(), sort, True, limit=1000) for sort in ("admission", "error")),
    ]


def of_atom(index: Index, atom: int) -> list[Callable[[], object]]:
    """What the page of an atom asks."""

    def where_it_fires() -> None:
        found = index.atom(atom)
        frames = index.top_examples(atom), index.interval_examples(atom), index.lowest_examples(atom)
        index.top_examples(atom, without=found.token)
        index.passages(sorted({int(token) for frame in frames for token in frame["token"]}), atom)

    def source() -> None:
        found = index.atom(atom)
        index.strongest(atom, found.token)
        index.atom_from(found.document, found.position)
        if found.has_source:
            passage = index.passages([found.token], atom, 0)[found.token]
            index.document(int(passage["document"].iloc[0]), atom)

    own = (index.neighbours, index.cofiring, index.histogram, index.token_shares, index.label_prediction)
    return [where_it_fires, source, *(partial(ask, atom) for ask in (*own, index.activations))]


def of_two(pair: Pair) -> list[Callable[[], object]]:
    """What the page of two dictionaries asks, and the jobs that compare them."""
    return [
        pair.counts,
        *(partial(pair.page, PairFilter(part, "a"), "error") for part in PARTITION),
        *(pair.twins, pair.carried, pair.matches, pair.coverage, pair.strata, pair.documents, pair.common_places),
        partial(pair.twin, 3, "b"),
        *(partial(ask, side) for ask in (pair.fires, partial(pair.measured, 3)) for side in ("a", "b")),
        partial(pair.codes_of_atoms, "a", 0, 9),
        partial(pair.codes_of_tokens, "a", (0, 99), (0, 9)),
    ]


def is_answered(question: Callable[[], object]) -> bool:
    """Whether a question is answered; where it is not, that is said in one line, and nothing else is raised."""
    try:
        question()
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    return True


def all_answered(path: Path, other: Path) -> bool:
    """Ask everything, each question whatever became of those before it; whether all of it was answered."""
    answers = []
    for opens, asked in (
        (lambda: Index(path), lambda index: [*of_atoms(index), *(q for at in (0, 5, 23) for q in of_atom(index, at))]),
        (lambda: Pair(path, other, "token"), of_two),
        (lambda: Pair(other, path, "characters"), of_two),
    ):
        try:
            opened = opens()
        except UserError:
            answers.append(False)
            continue
        answers += [is_answered(question) for question in asked(opened)]
        opened.close()
    return all(answers)


def test_a_sound_index_answers_everything(sound: Path) -> None:
    paths = [Library(sound).index_path(name) for name in (A, B)]
    assert all_answered(*paths)
    Index(paths[0]).check()


@pytest.mark.slow
def test_a_mutated_index_answers_or_says_that_it_is_damaged(copies: Callable[[], Path]) -> None:
    draw = random.Random(15)
    refused = 0
    for number in range(MUTATIONS):
        root = copies()
        paths = [Library(root).index_path(name) for name in (A, B)]
        what = mutate_index(paths[0], draw)
        try:
            is_sound = all_answered(*paths)
            is_taken = taken(root)
        except Exception as error:
            raise AssertionError(f"mutation {number}, {what}: {error!r}") from error
        refused += not is_taken
        # What is taken over from elsewhere answers everything.
        assert is_sound or not is_taken, f"mutation {number}, {what}"
    assert refused > MUTATIONS / 2


def taken(root: Path) -> bool:
    """Whether the mutated dictionary is taken into another library, its files signed as a stranger can."""
    folder = root / "dictionaries" / A
    sign(folder)
    here = Library(root / "here")
    try:
        adopt(here, folder)
    except UserError:
        assert not here.dictionaries.exists() or here.ids() == []
        return False
    return True


def test_a_mutated_map_is_a_map_or_damaged(copies: Callable[[], Path]) -> None:
    draw = random.Random(15)
    path = Library(copies()).map_path(A)
    content, refused = path.read_bytes(), 0
    places = read_map(path, ATOMS)
    for number in range(10 * MUTATIONS):
        path.write_bytes(content)
        what = mutate_map(path, draw)
        try:
            found = read_map(path, ATOMS)
        except UserError as error:
            assert "compute the map again" in str(error)
            refused += 1
            continue
        except Exception as error:
            raise AssertionError(f"mutation {number}, {what}: {error!r}") from error
        assert found is not None and places is not None
        assert found["atom"].equals(places["atom"]) and np.isfinite(found).all(axis=None), what
    assert refused > 5 * MUTATIONS


VISITS = {
    "views/atoms.py": [
        {"d": A},
        {"d": A, "text": "a", "scope": "context", "sort": "surprising", "colour": "error"},
        {"d": A, "region": "-1,-1~1,-1~1,1~-1,1", "picked": "3"},
    ],
    "views/atom.py": [{"d": A, "a": "0"}, {"d": A, "a": "5"}, {"d": B, "a": "5"}, {"d": A, "a": "23"}],
    "views/compare.py": [{"d": A, "e": B}, {"d": B, "e": A, "part": "a"}, {"d": A, "e": B, "a": "3"}],
    "views/library.py": [{}],
}


@pytest.mark.slow
def test_pages_over_a_mutated_index_or_map_show_one_line(
    copies: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITDA_NO_DEMO", "1")
    draw = random.Random(16)
    page = AppTest.from_file(str(MAIN), default_timeout=60)
    for number in range(1 + MUTATIONS // 5):
        root = copies()
        monkeypatch.setenv("ITDA_LIBRARY", str(root))
        st.cache_resource.clear()
        st.cache_data.clear()
        what = []
        if number:  # the first ones are sound
            what.append(mutate_index(Library(root).index_path(A), draw))
            what.append(mutate_map(Library(root).map_path(A), draw))
        visits = [(view, params) for view, each in VISITS.items() for params in each]
        for view, params in visits if number == 0 else draw.sample(visits, 3):
            page.query_params.clear()
            page.switch_page(view)
            for name, value in params.items():
                page.query_params[name] = value
            page.run()
            assert not page.exception, f"mutation {number}, {what}, {view} {params}: {page.exception}"
            assert number or not page.error, (view, params, page.error[0].value)
