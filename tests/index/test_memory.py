"""All indexes that are open share one amount of memory, by DuckDB's own account."""

import gc
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from itda_core.common.errors import DamagedError
from itda_core.index import memory
from itda_core.queries.atoms import Index
from itda_core.queries.pairs import Pair
from tests.support.small_index import SmallIndex

LEAST = 128 << 20


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("indexes")
    first = SmallIndex().write(folder)
    copies = [folder / str(at) / first.name for at in range(40)]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(first, copy)
    return copies


def of_all(sql: str) -> list[int]:
    """What every open database of this process answers."""
    with memory._changed:
        connections = [each._connection for each in memory._open if each._connection is not None]
        return [connection.cursor().execute(sql).fetchall()[0][0] for connection in connections]


def limits() -> list[int]:
    """The memory limits of all open databases, in bytes."""
    written = of_all("SELECT current_setting('memory_limit')")
    units = {"MiB": 1 << 20, "GiB": 1 << 30}
    return [round(float(number) * units[unit]) for number, unit in (each.split() for each in map(str, written))]


def taken() -> int:
    return sum(of_all("SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory()"))


def test_as_many_indexes_as_an_app_keeps_take_no_more_than_the_total(paths: list[Path]) -> None:
    gc.collect()
    indexes = [Index(path) for path in paths]
    pairs = [Pair(a, b, "token") for a, b in zip(paths[:8], paths[8:16], strict=True)]
    assert len(limits()) == memory.TOTAL // LEAST == 32
    assert sum(limits()) == memory.TOTAL
    assert all(index.n_atoms == indexes[0].n_atoms == pair.counts().both for index in indexes for pair in pairs[-1:])
    assert sum(limits()) == memory.TOTAL
    del indexes
    gc.collect()
    assert sum(limits()) <= len(pairs) * LEAST  # those that nobody has any more are closed


def test_readers_at_once_wait_for_their_share(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(memory, "TOTAL", 3 * LEAST)
    indexes = [Index(path) for path in paths[:10]]
    pair = Pair(paths[0], paths[1], "token")
    expected, coverage = indexes[0].origins(), pair.coverage()
    most, is_done = [], threading.Event()

    def watch() -> None:
        while not is_done.is_set():
            most.append((sum(limits()), taken()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(found.equals(expected) for found in pool.map(lambda at: indexes[at % 10].origins(), range(80)))
            assert all(found == coverage for found in pool.map(lambda _: pair.coverage(), range(8)))
    finally:
        is_done.set()
        watching.join()
    assert LEAST < max(limit for limit, _ in most) <= 3 * LEAST
    assert max(used for _, used in most) <= 3 * LEAST


def test_the_least_recently_used_is_closed_and_one_in_use_is_not(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()
    monkeypatch.setattr(memory, "TOTAL", 2 * LEAST)
    a, b, c = (Index(path) for path in paths[:3])
    assert [each._connection is None for each in (a, b, c)] == [True, False, False]
    with b._in_use() as connection:
        a.atom(0)
        c.atom(0)
        assert connection.execute("SELECT count(*) FROM atoms").fetchall() == [(b.n_atoms,)]
        assert [each._connection is None for each in (a, b, c)] == [True, False, False]
    a.atom(0)
    assert [each._connection is None for each in (a, b, c)] == [False, True, False]


def test_an_index_that_cannot_be_opened_again_gives_its_share_back(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()
    monkeypatch.setattr(memory, "TOTAL", LEAST)
    gone = tmp_path / "gone" / paths[0].name
    gone.parent.mkdir()
    shutil.copy(paths[0], gone)
    index, other = Index(gone), Index(paths[1])
    gone.unlink()
    with pytest.raises(DamagedError, match="missing"):
        index.atom(0)
    assert other.atom(0).atom == 0


def test_what_takes_more_than_its_share_says_so(paths: list[Path]) -> None:
    index = Index(paths[0])
    with pytest.raises(DamagedError, match="takes more memory than 128 MiB"):
        index._frame("SELECT list(range) AS every FROM range(100_000_000)")
    assert index.atom(0).atom == 0


def test_a_large_index_gets_a_share_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "index.duckdb"
    for size, share in ((1 << 20, LEAST), (100 << 20, 400 << 20), (1 << 40, 2 << 30)):
        with path.open("wb") as file:
            file.truncate(size)
        assert memory.SharedDatabase([path]).share == share
