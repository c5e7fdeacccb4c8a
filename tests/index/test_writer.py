"""How an index is written: the same rows as ever, in bounded memory, whatever kills the process."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

from itda_core import DamagedError, Dictionary
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Codes, Document
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import Window
from itda_core.index import neighbours
from itda_core.index import writer as index
from itda_core.index.writer import IndexWriter
from tests.support.places import REPOSITORY
from tests.support.small_index import TABLES_FILE, SmallIndex, tables

TOKENS, L0 = 1000, 40
BATCHES = 100


@pytest.fixture(scope="module")
def small() -> SmallIndex:
    return SmallIndex()


def check_tables(path: Path) -> None:
    """The index is what the first version of the writer wrote, row for row; floats up to how a machine adds them."""
    written = tables(path)
    expected = json.loads(TABLES_FILE.read_text(encoding="utf-8"))
    assert list(written) == list(expected)
    for name, table in expected.items():
        assert written[name]["columns"] == table["columns"], name
        rows = written[name]["rows"]
        assert len(rows) == len(table["rows"]), name
        for row, first in zip(rows, table["rows"], strict=True):
            for value, was in zip(row, first, strict=True):
                assert value == (pytest.approx(was, rel=1e-6, abs=1e-7) if isinstance(was, float) else was), name


def test_the_tables_are_as_they_were_first_written(small: SmallIndex, tmp_path: Path) -> None:
    check_tables(small.write(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["index.duckdb"]


def test_the_tables_do_not_depend_on_the_parts_they_are_written_in(
    small: SmallIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_TOKENS_AT_ONCE", 7)
    monkeypatch.setattr(index, "_CODES_AT_ONCE", 20)
    monkeypatch.setattr(neighbours, "_COUNTS_AT_ONCE", 5 * 24)
    monkeypatch.setattr(neighbours, "_PAIRS_AT_ONCE", 2 * 24)
    monkeypatch.setattr(neighbours, "_ATOMS_AT_ONCE", 3)
    check_tables(small.write(tmp_path))


def synthetic(number: int) -> tuple[np.ndarray, Codes, np.ndarray, np.ndarray]:
    """Batch `number` of many, the same in every process."""
    generator = np.random.default_rng(number)
    tokens = np.arange(TOKENS) + number * TOKENS
    atoms = np.argsort(generator.random((TOKENS, 200)), axis=1)[:, :L0]
    coefficients = generator.normal(size=TOKENS * L0).astype(np.float32)
    codes = Codes(np.repeat(np.arange(TOKENS), L0), atoms.ravel(), coefficients)
    return tokens, codes, generator.random(TOKENS).astype(np.float32), np.ones(TOKENS, np.float32)


def child(code: str) -> subprocess.Popen[str]:
    paths = str(REPOSITORY)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )


def check_staged(staging: Path, folder: Path) -> int:
    """A copy of the staging files holds whole batches and nothing else; returns how many."""
    copy = folder / "copy.duckdb"
    shutil.copy(staging, copy)
    log = staging.with_name(staging.name + ".wal")
    if log.exists():
        shutil.copy(log, copy.with_name(copy.name + ".wal"))
    writer = IndexWriter(copy)
    batches = writer.batches
    codes = writer._connection.execute("SELECT * FROM codes ORDER BY token, step").fetchnumpy()
    errors = writer._connection.execute("SELECT * FROM errors ORDER BY token").fetchnumpy()
    writer.close()
    expected = [synthetic(number) for number in range(batches)]
    assert np.array_equal(errors["token"], np.arange(batches * TOKENS))
    assert len(codes["token"]) == batches * TOKENS * L0
    for number, (_, batch, error, _) in enumerate(expected):
        part = slice(number * TOKENS * L0, (number + 1) * TOKENS * L0)
        assert np.array_equal(codes["atom"][part], batch.atom)
        assert np.array_equal(codes["coefficient"][part], batch.coefficient)
        assert np.array_equal(errors["error"][number * TOKENS : (number + 1) * TOKENS], error)
    return batches


@pytest.mark.slow
def test_a_killed_process_loses_at_most_the_batch_it_was_adding(tmp_path: Path) -> None:
    staging = tmp_path / "staging.duckdb"
    code = f"""
from pathlib import Path
from tests.index.test_writer import BATCHES, IndexWriter, synthetic
writer = IndexWriter(Path({str(staging)!r}))
for number in range(writer.batches, BATCHES):
    batch = synthetic(number)
    if number == writer.batches:
        print(number, flush=True)
    writer.add(*batch)
print("done", flush=True)
"""
    moments = random.Random(3)
    reached = 0
    for _ in range(3):
        process = child(code)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == str(reached)  # it goes on with the next batch
        said = [str(reached)]
        until = time.monotonic() + moments.uniform(0, 0.5)
        while time.monotonic() < until:
            said.append(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().split()
        process.wait()
        batches = check_staged(staging, tmp_path)
        last = [line for line in said if line][-1]
        assert last != "done", "the run is too short to be killed in"
        assert batches in (int(last), int(last) + 1)  # the one it began last is in or not
        reached = batches
    assert reached > 0
    process = child(code)
    assert process.wait() == 0
    assert check_staged(staging, tmp_path) == BATCHES


@pytest.mark.parametrize("where", ["_write_tokens", "_write_examples"])
def test_an_index_half_written_by_a_killed_process_is_written_anew(
    small: SmallIndex, tmp_path: Path, where: str
) -> None:
    code = f"""
import os, signal
from pathlib import Path
from tests.support.small_index import IndexWriter, SmallIndex
setattr(IndexWriter, {where!r}, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
SmallIndex().write(Path({str(tmp_path)!r}))
"""
    assert child(code).wait() == -signal.SIGKILL
    left = {path.name for path in tmp_path.iterdir()}
    assert {"staging.duckdb", ".index.duckdb.part"} <= left
    assert "index.duckdb" not in left
    writer = IndexWriter(tmp_path / "staging.duckdb")
    assert writer.batches == len(small.batches)
    path = tmp_path / "index.duckdb"
    path.write_text("an index that is damaged")
    writer.write(path, small.dictionary, small.table, small.documents)
    writer.close()
    check_tables(path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.duckdb"]


def test_a_batch_that_cannot_be_added_leaves_nothing(small: SmallIndex, tmp_path: Path) -> None:
    writer = IndexWriter(tmp_path / "staging.duckdb")
    tokens, codes, errors, norms = small.batches[0]
    writer.add(tokens, codes, errors, norms)
    with pytest.raises(Exception, match=r"(?i)column|length"):
        writer.add(tokens, codes, errors[:-1], norms)
    assert writer.batches == 1
    assert writer._count("codes") == len(codes.row)
    for batch in small.batches[1:]:
        writer.add(*batch)
    path = tmp_path / "index.duckdb"
    writer.write(path, small.dictionary, small.table, small.documents)
    writer.close()
    check_tables(path)


@pytest.mark.parametrize("content", [b"", b"no database", "another database"])
def test_what_is_no_staged_index_is_refused(tmp_path: Path, content: bytes | str) -> None:
    staging = tmp_path / "staging.duckdb"
    if isinstance(content, bytes):
        staging.write_bytes(content)
    else:
        with duckdb.connect(str(staging)) as connection:
            connection.execute("CREATE TABLE other (x INTEGER)")
    with pytest.raises(DamagedError, match="delete it and build again"):
        IndexWriter(staging)


def test_what_does_not_fit_into_memory_is_sorted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1.6 M codes, 19 MB without the keys they are sorted by, twice over and with the passages, in 30 MB."""
    monkeypatch.setattr(index, "_WRITE_MEMORY", "30MB")
    monkeypatch.setattr(index, "THREADS", 1)
    n_batches, length = 40, 125
    n = n_batches * TOKENS
    spans = [(5 * at, 5 * at + 4) for at in range(length)]
    windows = (Window(d, [], list(range(length)), [], 0, spans, range(length)) for d in range(n // length))
    table = TokenTable.of(windows, holdout=True)
    atoms = torch.nn.functional.normalize(torch.arange(400.0).reshape(200, 2).cos(), dim=1)
    sources = torch.stack([torch.arange(200), torch.arange(200) % length], 1)
    writer = IndexWriter(tmp_path / "staging.duckdb")
    for number in range(n_batches):
        writer.add(*synthetic(number))
    documents = (Document(str(number), "word " * length) for number in range(n // length))
    path = tmp_path / "index.duckdb"
    writer.write(path, Dictionary(atoms, sources, DictionarySettings()), table, documents)
    writer.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        written = connection.execute("SELECT * FROM activations").fetchnumpy()
        assert connection.execute("SELECT count(*), min(text), max(text) FROM tokens").fetchall() == [
            (n, " word", "word")
        ]
    batches = [synthetic(number)[1] for number in range(n_batches)]
    atom, coefficient = (np.concatenate([getattr(b, name) for b in batches]) for name in ("atom", "coefficient"))
    order = np.lexsort((-coefficient, atom))
    assert np.array_equal(written["atom"], atom[order])
    assert np.array_equal(written["coefficient"], coefficient[order])
