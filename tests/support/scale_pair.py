"""Measures comparing at full size: `python -m tests.support.scale_pair FOLDER` (minutes, 2 GB).

Makes a library of two dictionaries of 20,000 atoms over 1,000,000 tokens and 40 codes a token in FOLDER, unless it is
there, and prints in JSON what `itda compare` takes in time and memory, and how soon the Compare page stands: before the
job and after it, each in a process of its own whose files were put out of the system's cache. The codes are drawn by
lot, some atoms far more often than others, so the figures are about size and not about models.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import torch

from itda_core import Library
from itda_core.common.files import sha256_of, write_json
from itda_core.common.settings import DictionarySettings
from itda_core.corpus.windows import is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.jobs.job import running_job
from tests.support.places import REPOSITORY
from tests.support.small_library import manifest_of
from tests.support.small_pair import windows, write_index

CONTEXT, KINDS, WIDTH = 128, 8_000, 16
WORD = 6  # characters of a token


def make(root: Path, name: str, seed: int, atoms: int, tokens: int, l0: int) -> None:
    """Write one dictionary of the library, whole or not at all."""
    folder = root / "dictionaries" / f".{name}"
    shutil.rmtree(folder, ignore_errors=True)
    words = np.random.default_rng(0)  # the corpus is the same for both
    often = 1 / np.arange(1, KINDS + 1)
    n_documents = -(-tokens // (CONTEXT - 1))
    kinds = words.choice(KINDS, n_documents * CONTEXT, p=often / often.sum())
    ordinals = np.flatnonzero(np.arange(len(kinds)) % CONTEXT)[:tokens]
    random = np.random.default_rng(seed)
    possible = ordinals[~is_held_out(ordinals // CONTEXT)]
    shared = np.random.default_rng(1).choice(possible, atoms // 2, replace=False)  # both choose these
    alone = random.choice(np.setdiff1d(possible, shared), atoms - len(shared), replace=False)
    sources = np.sort(np.concatenate([shared, alone]))
    unit = torch.nn.functional.normalize(torch.from_numpy(random.normal(size=(atoms, WIDTH)).astype(np.float32)), dim=1)
    places = torch.from_numpy(np.stack([sources // CONTEXT, sources % CONTEXT], 1))
    path = write_index(folder, windows(1), [(0, 1)])  # an index as it is written, whose tables get other rows
    fill(path, kinds, ordinals, sources, seed, l0)
    Dictionary(unit, places, DictionarySettings(l0=l0), torch.full((atoms,), 0.5, dtype=torch.float64)).save(folder)
    files = {each.name: sha256_of(each) for each in folder.iterdir() if each.is_file() and each.name != "manifest.json"}
    manifest = manifest_of(
        name,
        model=name,
        corpus="by-lot",
        cut={"context": CONTEXT},
        settings={"l0": l0},
        n_atoms=atoms,
        d_model=WIDTH,
        n_tokens=len(ordinals),
        relative_error=0.2,
        measured_tokens=1,
        history=[],
        files=files,
    )
    write_json(folder / "manifest.json", manifest)
    folder.rename(folder.with_name(name))


def fill(path: Path, kinds: np.ndarray, ordinals: np.ndarray, sources: np.ndarray, seed: int, l0: int) -> None:
    """Put rows by lot into the tables that comparing reads: of each token one atom from each of `l0` parts of them."""
    read = pd.DataFrame({"token": np.arange(len(kinds), dtype=np.int32), "kind": kinds.astype(np.int32)})
    taken = pd.DataFrame({"atom": np.arange(len(sources), dtype=np.int32), "token": sources.astype(np.int32)})
    last = int(ordinals[-1])
    with duckdb.connect(str(path), config={"memory_limit": "3GB", "temp_directory": str(path) + ".tmp"}) as connection:
        run = connection.execute
        for table in ("documents", "tokens", "atoms", "activations", "codes"):
            run(f"DELETE FROM {table}")
        run("SELECT setseed(?)", [seed / 100]).fetchall()
        connection.register("read", read)
        connection.register("taken", taken)
        run(
            f"""
            INSERT INTO tokens BY NAME
            SELECT token, (token // {CONTEXT})::INTEGER AS document, (token % {CONTEXT})::INTEGER AS position,
                kind AS token_id, {WORD} * (token % {CONTEXT}) AS start, {WORD} * (token % {CONTEXT} + 1) AS stop,
                format('w{{:04d}} ', kind) AS text,
                CASE WHEN token % {CONTEXT} > 0 AND token <= {last} THEN 0.05 + random() / 4 END AS error
            FROM read ORDER BY token
            """
        )
        run(
            """
            INSERT INTO documents BY NAME
            SELECT document, 'document ' || document AS name, string_agg(text, '' ORDER BY token) AS text,
                document % 10 = 9 AS held_out
            FROM tokens GROUP BY document ORDER BY document
            """
        )
        width = len(sources) / l0
        run(
            f"""
            INSERT INTO codes BY NAME
            SELECT token, floor((part + random() ** 2) * {width})::INTEGER AS atom,
                (random() + random() - 0.99) * 20 AS coefficient
            FROM (SELECT token, unnest(range({l0})) AS part FROM tokens WHERE error IS NOT NULL ORDER BY token)
            """
        )
        run("INSERT INTO activations BY NAME SELECT * FROM codes ORDER BY atom, coefficient DESC")
        run(
            f"""
            INSERT INTO atoms BY NAME
            WITH fired AS (
                SELECT atom, count(*) AS count, avg(coefficient) AS mean, max(coefficient) AS maximum,
                    min(coefficient) AS minimum, max(abs(coefficient)) AS strongest
                FROM activations GROUP BY atom
            )
            SELECT atom, token, document, position, token_id, t.text AS label,
                substring(d.text, greatest(1, start + 1 - 16 * {WORD}), least(start, 16 * {WORD})) AS before,
                substring(d.text, stop + 1, 16 * {WORD}) AS after, 0.3 + random() * 0.6 AS admission_error,
                coalesce(count, 0) AS count, coalesce(count, 0) / {len(ordinals)} AS density,
                mean, maximum, minimum, strongest
            FROM taken JOIN tokens t USING (token) JOIN documents d USING (document) LEFT JOIN fired USING (atom)
            ORDER BY atom
            """
        )
        run("CHECKPOINT")
    shutil.rmtree(str(path) + ".tmp", ignore_errors=True)


def evict(root: Path) -> None:
    """Put a library's files out of the system's cache."""
    os.sync()
    for path in root.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def measured(what: str, root: Path) -> dict:
    """Run a part of this script in a process of its own, on cold files."""
    evict(root)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.scale_pair", str(root), "--only", what], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def time_job(root: Path) -> dict:
    """Seconds of the job, on the clock and of the processor, and the most memory that its process held."""
    from itda_core.comparison.compare import compare

    a, b = Library(root).ids()
    with running_job(root, "Compare") as job:
        start = time.perf_counter(), time.process_time()
        found = compare(Library(root), a, b, job)
        seconds, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(processor, 1),
        "peak_gb": round(peak, 2),
        "jaccard": found.jaccard,
    }


def time_page(root: Path) -> dict:
    """Seconds until the page stands, on the clock and of the processor, for what `visits` opens."""
    os.environ |= {"ITDA_LIBRARY": str(root), "ITDA_NO_DEMO": "1"}
    from streamlit.testing.v1 import AppTest

    a, b = Library(root).ids()
    page = AppTest.from_file(str(REPOSITORY / "app" / "main.py"), default_timeout=120)
    page.query_params["d"] = "unknown"
    page.switch_page("views/compare.py").run()  # loads the page's own modules, opens no index
    times = {}
    for name, params in visits(a, b):
        page.query_params.clear()
        for key, value in params.items():
            page.query_params[key] = value
        start = time.perf_counter(), time.process_time()
        page.run()
        times[name] = [round(time.perf_counter() - start[0], 2), round(time.process_time() - start[1], 2)]
        assert not page.exception, page.exception
        assert len(page.main.get("bidi_component")) > 3
    return times


def visits(a: str, b: str) -> Iterator[tuple[str, dict[str, str]]]:
    """What is opened, one after the other."""
    yield "cold", {"d": a, "e": b}
    yield "again", {"d": a, "e": b}
    yield "only_a", {"d": a, "e": b, "part": "a", "sort": "rarest"}
    yield "search", {"d": a, "e": b, "part": "b", "text": "w0123"}
    yield "match", {"d": a, "e": b, "a": "77"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--atoms", type=int, default=20_000)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--l0", type=int, default=40)
    parser.add_argument("--only", choices=["job", "page"], help="measure this alone, in this process")
    given = parser.parse_args()
    if given.only:
        print(json.dumps(time_job(given.folder) if given.only == "job" else time_page(given.folder)))
        sys.exit()
    for seed, each in ((2, "left-0000000002"), (3, "right-0000000003")):
        if each not in Library(given.folder).ids():
            make(given.folder, each, seed, given.atoms, given.tokens, given.l0)
    report = {"page_before_job": measured("page", given.folder)}
    report |= {"job": measured("job", given.folder), "page_after_job": measured("page", given.folder)}
    print(json.dumps(report))
