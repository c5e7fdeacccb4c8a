"""Measures comparing at full size: `python tests/scale_pair.py FOLDER` (from the repository's root; minutes, 2 GB).

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

import numpy as np
import torch

from itda_core import Library
from itda_core.config import DictionarySettings
from itda_core.dictionary import Dictionary
from itda_core.files import sha256_of, write_json
from itda_core.index import IndexWriter
from itda_core.jobs import running_job
from itda_core.types import Codes, Document
from itda_core.windows import TokenTable, Window, is_held_out

CONTEXT, KINDS, WIDTH, BATCH = 128, 8_000, 16, 20_000


def make(root: Path, name: str, seed: int, atoms: int, tokens: int, l0: int) -> None:
    """Write one dictionary of the library, whole or not at all."""
    folder = root / "dictionaries" / f".{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = np.random.default_rng(0)  # the corpus is the same for both
    often = 1 / np.arange(1, KINDS + 1)
    n_documents = -(-tokens // (CONTEXT - 1))
    kinds = words.choice(KINDS, (n_documents, CONTEXT), p=often / often.sum())
    spans = [(6 * at, 6 * at + 6) for at in range(CONTEXT)]
    documents = [Document(f"document {n}", "".join(f"w{k:04d} " for k in row)) for n, row in enumerate(kinds)]
    cut = (Window(n, [], row.tolist(), [], 0, spans, range(1, CONTEXT)) for n, row in enumerate(kinds))
    table = TokenTable.of(cut, holdout=True)
    ordinals = np.flatnonzero(np.arange(len(table)) % CONTEXT)[:tokens]
    random = np.random.default_rng(seed)
    possible = ordinals[~is_held_out(ordinals // CONTEXT)]
    shared = np.random.default_rng(1).choice(possible, atoms // 2, replace=False)  # both choose these
    alone = random.choice(np.setdiff1d(possible, shared), atoms - len(shared), replace=False)
    sources = np.sort(np.concatenate([shared, alone]))
    unit = torch.nn.functional.normalize(torch.from_numpy(random.normal(size=(atoms, WIDTH)).astype(np.float32)), dim=1)
    places = torch.from_numpy(np.stack([sources // CONTEXT, sources % CONTEXT], 1))
    settings = DictionarySettings(l0=l0)
    dictionary = Dictionary(unit, places, settings, torch.from_numpy(random.uniform(0.3, 0.9, atoms)))
    dictionary.save(folder)
    writer = IndexWriter(folder / "staging.duckdb")
    for first in range(0, len(ordinals), BATCH):
        part = ordinals[first : first + BATCH]
        picked = (random.random((len(part), l0)) ** 2 * atoms).astype(np.int64)
        row, atom = np.divmod(np.unique(picked + np.arange(len(part))[:, None] * atoms), atoms)
        codes = Codes(row, atom, random.normal(size=len(row)).astype(np.float32) + 0.01)
        writer.add(part, codes, random.uniform(0.05, 0.3, len(part)).astype(np.float32))
    writer.write(folder / "index.duckdb", dictionary, table, documents)
    writer.close()
    files = {each.name: sha256_of(each) for each in folder.iterdir() if each.is_file() and each.name != "manifest.json"}
    manifest = {
        "id": name,
        "model": name,
        "revision": None,
        "weights_sha256": None,
        "tokenizer_sha256": "0" * 64,
        "n_layers": 6,
        "layer": 3,
        "hook": "resid",
        "corpus": "by-lot",
        "cut": {"context": CONTEXT},
        "settings": {"l0": l0},
        "n_atoms": atoms,
        "d_model": WIDTH,
        "n_tokens": len(ordinals),
        "holdout": True,
        "relative_error": 0.2,
        "measured_tokens": 1,
        "seconds": 1.0,
        "created": "2026-01-01T00:00:00+00:00",
        "history": [],
        "versions": {},
        "files": files,
    }
    write_json(folder / "manifest.json", manifest)
    folder.rename(folder.with_name(name))


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
    done = subprocess.run([sys.executable, __file__, str(root), "--only", what], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def time_job(root: Path) -> dict:
    """Seconds of the job, on the clock and of the processor, and the most memory that its process held."""
    from itda_core.comparison import compare

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
    page = AppTest.from_file(str(Path(__file__).parents[1] / "app" / "main.py"), default_timeout=120)
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
