"""Indexes of more than a million tokens, and what becomes of one when DuckDB itself fails."""

import contextlib
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pytest
import streamlit as st
import torch
from packaging.requirements import Requirement
from packaging.version import Version
from streamlit.testing.v1 import AppTest

from app import resources
from itda_core.common.errors import DamagedError, EngineError
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Codes, Document
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import Window
from itda_core.dictionary.dictionary import Dictionary
from itda_core.index.connection import IndexReader
from itda_core.index.writer import IndexWriter
from itda_core.queries.atoms import Index
from itda_core.queries.pairs import Pair
from tests.support.places import REPOSITORY
from tests.support.small_index import SmallIndex
from tests.support.small_library import ID, write_library
from tests.support.small_pair import windows, write_index

pytestmark = pytest.mark.slow

LENGTH, DOCUMENTS, ATOMS, L0 = 130, 10_000, 64, 4
"""1.3 M tokens, of which all but the first of each document are captured, and 5.2 M codes."""
WANTED = 49
PLAIN_CONTEXTS = """
    SELECT c.token AS centre, t.token, t.text, coefficient, t.token = c.token AS is_centre, t.document, name, t.position
    FROM tokens c JOIN tokens t ON t.document = c.document AND abs(t.token - c.token) <= 16
        JOIN documents d ON d.document = t.document
        LEFT JOIN (SELECT * FROM activations WHERE atom = $2) f ON f.token = t.token
    WHERE c.token IN (SELECT unnest($1::INTEGER[])) ORDER BY c.token, t.token
"""
"""What `Index.contexts` answers, as plainly as it can be asked."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 1.3 M tokens, its codes drawn by lot."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    spans = [(5 * at, 5 * at + 5) for at in range(LENGTH)]
    cut = (Window(at, [], list(range(LENGTH)), [], 0, spans, range(1, LENGTH)) for at in range(DOCUMENTS))
    table = TokenTable.of(cut, holdout=False)
    captured = np.flatnonzero(np.arange(len(table)) % LENGTH)
    writer = IndexWriter(folder / "staging.duckdb")
    part = ATOMS // L0
    for tokens in np.array_split(captured, 8):
        atoms = np.arange(L0) * part + (random.random((len(tokens), L0)) ** 2 * part).astype(np.int64)
        coefficients = random.normal(size=atoms.size).astype(np.float32)
        codes = Codes(np.repeat(np.arange(len(tokens)), L0), atoms.ravel(), coefficients)
        writer.add(tokens, codes, random.random(len(tokens)).astype(np.float32), np.ones(len(tokens)))
    unit = torch.nn.functional.normalize(torch.from_numpy(random.normal(size=(ATOMS, 16))), dim=1)
    sources = torch.stack([torch.arange(ATOMS) * 100, 1 + torch.arange(ATOMS)], 1)
    words = [f"w{word:03d} " for word in range(1000)]
    documents = (
        Document(f"document {at}", "".join(words[(7 * at + place * place) % 1000] for place in range(LENGTH)))
        for at in range(DOCUMENTS)
    )
    writer.write(folder / "index.duckdb", Dictionary(unit, sources, DictionarySettings()), table, documents)
    writer.close()
    return folder / "index.duckdb"


def wanted(index: Index, atom: int) -> list[int]:
    """The tokens whose contexts the page of an atom asks for."""
    examples = index.top_examples(atom), index.interval_examples(atom), index.lowest_examples(atom)
    return sorted({int(token) for frame in examples for token in frame["token"]})


def test_the_duckdb_that_fails_on_such_indexes_is_never_used() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (required,) = (Requirement(each) for each in project["dependencies"] if each.startswith("duckdb"))
    assert "2.0.0" not in required.specifier and "2.0.1" in required.specifier
    assert Version(duckdb.__version__) >= Version("2.0.1")


def test_contexts_of_many_tokens_by_any_number_of_threads(large: Path) -> None:
    index = Index(large)
    assert index.n_read == LENGTH * DOCUMENTS
    assert len(wanted(index, 0)) > 40
    for threads in (2, 4, 8, 16):
        more = Threaded(large, threads)
        for atom in range(threads, ATOMS, 16):
            tokens = wanted(more, atom)
            found = more.contexts(tokens, atom)
            assert found["centre"].drop_duplicates().tolist() == tokens
            assert found["document"].eq(found["centre"] // LENGTH).all()
            assert found["token"].eq(LENGTH * found["document"] + found["position"]).all()
            assert (found["token"] - found["centre"]).abs().max() == 16


class Threaded(Index):
    """An index that DuckDB reads with so many threads."""

    def __init__(self, path: Path, threads: int) -> None:
        self._threads = threads
        super().__init__(path)

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"SET threads = {self._threads}")


def test_many_readers_at_once_of_a_large_index(large: Path) -> None:
    index = Index(large)
    asked = {atom: wanted(index, atom) for atom in range(6)}
    expected = {atom: index.contexts(tokens, atom) for atom, tokens in asked.items()}
    with ThreadPoolExecutor(8) as pool:
        for atom, found in pool.map(lambda at: (at % 6, index.contexts(asked[at % 6], at % 6)), range(24)):
            assert found.equals(expected[atom])


def test_contexts_are_those_of_the_plain_question(tmp_path: Path) -> None:
    index = Index(SmallIndex().write(tmp_path))
    for atom in range(0, index.n_atoms, 5):
        tokens = [*range(0, index.n_read, 7), 0, index.n_read - 1, index.n_read + 5, -3]  # the last two are not there
        plain = index._frame(PLAIN_CONTEXTS, [tokens, atom], ("coefficient",))
        found = index.contexts(tokens, atom)
        assert found.equals(plain)
        assert found.dtypes.equals(plain.dtypes)


# DuckDB itself fails


class Fragile(IndexReader):
    """Index files in a DuckDB that cannot commit, nor take back what it could not commit, which is fatal for it."""

    is_mended = False

    def _derive(self, connection: duckdb.DuckDBPyConnection) -> None:
        super()._derive(connection)
        if not self.is_mended:
            connection.execute("SET debug_force_commit_failure = true; SET debug_force_commit_revert_failure = true")

    def fail(self) -> None:
        """Have DuckDB invalidate all that this reader has open."""
        fatal = pytest.raises(duckdb.FatalException, match="database has been invalidated")
        with fatal, self._in_use() as connection:
            write(connection.cursor())


def write(cursor: duckdb.DuckDBPyConnection) -> list[tuple]:
    """Write what is fatal where nothing can be committed, and read it."""
    with contextlib.suppress(duckdb.TransactionException):
        cursor.execute("CREATE TABLE written AS SELECT 7")
    return cursor.execute("SELECT * FROM written").fetchall()


class FragileIndex(Fragile, Index):
    pass


class FragilePair(Fragile, Pair):
    pass


def test_an_index_is_opened_anew_for_all_its_readers_when_duckdb_fails(tmp_path: Path) -> None:
    path = SmallIndex().write(tmp_path)
    index, beside = FragileIndex(path), Index(path)
    asked = list(range(0, index.n_read, 3))
    expected = index.contexts(asked, 1)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            index.fail()
            assert beside.contexts(asked, 1).equals(expected)  # another reader of the same file is not touched
            assert all(found.equals(expected) for found in pool.map(lambda _: index.contexts(asked, 1), range(16)))


def test_a_failure_that_stays_is_no_damage(tmp_path: Path) -> None:
    index = FragileIndex(SmallIndex().write(tmp_path))
    with pytest.raises(EngineError, match=r"DuckDB failed within itself while it read index\.duckdb") as caught:
        index._ask(write)
    assert not isinstance(caught.value, DamagedError)
    assert "build the dictionary again" not in str(caught.value) and "\n" not in str(caught.value)
    assert index.atom(3).atom == 3
    index.is_mended = True
    index.fail()
    assert index._ask(write) == [(7,)]  # done once more, from its beginning, on what was opened anew


def test_what_two_indexes_have_in_common_is_whole_when_duckdb_fails(tmp_path: Path) -> None:
    paths = [write_index(tmp_path / name, windows(1), [(0, 1), (1, 2)]) for name in "ab"]
    pair, sound = FragilePair(*paths, "token"), Pair(*paths, "token")
    pair.fail()
    assert pair.twins() == sound.twins() == {0: 0, 1: 1}
    pair.is_mended = True
    pair.fail()
    assert pair.coverage() == sound.coverage()
    pair.is_mended = False
    pair.close()
    assert pair.twins() == sound.twins()  # opened anew
    pair.fail()
    pair.is_mended = True
    assert [each.tolist() for each in pair.common_tokens()] == [each.tolist() for each in sound.common_tokens()]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    """The page of an atom."""
    monkeypatch.setenv("ITDA_LIBRARY", str(write_library(tmp_path / "library").root))
    monkeypatch.setenv("ITDA_NO_DEMO", "1")
    monkeypatch.setattr(resources, "Index", FragileIndex)
    st.cache_resource.clear()
    found = AppTest.from_file(str(REPOSITORY / "app" / "main.py"), default_timeout=60).run()
    found.switch_page("views/atom.py")
    found.query_params["d"], found.query_params["a"] = ID, "1"
    yield found
    st.cache_resource.clear()


def test_a_page_does_not_notice_that_duckdb_failed(page: AppTest) -> None:
    page.query_params["tab"] = "range"
    page.run()
    said = [each.value for each in page.metric]
    assert len(said) == 4 and not page.error
    index = resources.index(ID)
    assert isinstance(index, FragileIndex)
    index.fail()
    page.run()
    assert [each.value for each in page.metric] == said
    assert not page.exception and not page.error


def test_a_page_says_in_one_line_that_duckdb_fails(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FragileIndex, "neighbours", lambda self, _: self._ask(write))
    page.query_params["tab"] = "relatives"
    page.run()
    assert not page.exception
    assert [each.value for each in page.error if "DuckDB failed within itself" in each.value]
    assert "Damaged" not in [each.value for each in page.title]
