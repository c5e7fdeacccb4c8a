"""A small library with one of everything that a library can hold."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from itda_core.capture.local import Batch
from itda_core.capture.store import pack, record_activations
from itda_core.common.bootstrap import Interval
from itda_core.common.files import read_json, sha256_of, write_hash, write_sealed
from itda_core.common.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.common.settings import CorpusSettings, SaeSettings, WindowSettings
from itda_core.common.types import Site
from itda_core.comparison.compare import summarise
from itda_core.comparison.transplant import _write
from itda_core.corpus.store import Corpus, ingest
from itda_core.interop.exporter import export
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.pairs import Pair
from itda_core.reports.comparison import SIDE_FILES, folder_of, write_side
from itda_core.reports.comparison import SUMMARY_FILE as COMPARISON_FILE
from itda_core.reports.layers import DEFAULT, LAYER_MEASURES, LayerSimilarity, path_of
from itda_core.reports.probing import ITDA, Probe, ProbedCoder, ProbedProperty, Probing, Score, write_probing
from itda_core.reports.quality import PAIRED, Measured, Point, Quality, Series, write_quality
from itda_core.reports.sae import SAE_FILES, WEIGHTS_FILE, SaeRecord
from itda_core.reports.transplant import ATOM_SCHEMA, CONTEXT_SCHEMA, CONTEXTS_FILE, TransplantSummary
from itda_core.reports.transplant import ATOMS_FILE as TRANSPLANTED_FILE
from tests.support.corpora import write_documents
from tests.support.other_user import open_copy
from tests.support.small_library import CODES, ID, sign, write_library
from tests.support.small_pair import DOCUMENTS

OTHER = "small-l4-resid-0000000001"
SAE = "sae-topk-small"
_SHARE = Measured(0.5, 0.4, 0.6)


def write_whole_library(root: Path) -> Library:
    """A new library: two dictionaries of one corpus, the first with all that is measured later, and two jobs."""
    library = write_library(root)
    corpus = _corpus(library)
    shutil.copytree(library.folder(ID), library.dictionaries / OTHER)
    for name, layer in ((ID, 3), (OTHER, 4)):
        folder = library.folder(name)
        kept = f"{corpus.id}-0123456789"
        sign(folder, id=name, layer=layer, corpus=corpus.id, format=1, activations=kept, half_precision=True)
        write_sealed(folder / MANIFEST_FILE, read_json(folder / MANIFEST_FILE))
    a, b = library.record(ID), library.record(OTHER)
    _map(library, a)
    _reports(library, a)
    _comparison(library, a, b)
    _transplant(library, a, b)
    _layers(library, a, b)
    _sae(library, a)
    _activations(library.activations / f"{corpus.id}-0123456789", a.site)
    with running_job(root, "Build small", "20260101-000000-aaaaaa") as job:
        job.stage("building", 100)
        job.advance(50)
        job.state.growth["another"] = [[25, 3, 0.5], [50, 4, 0.25]]
        job.finished(ID)
    build = ["build", "small", "--layers", "3", "--corpus", "docs"]
    write_sealed(root / "jobs" / "20260101-000000-aaaaaa" / "command.json", {"arguments": build})
    return library


def files_of(library: Library) -> dict[str, Path]:
    """The JSON files of such a library that pages read, by their kind."""
    a, b = library.record(ID), library.record(OTHER)
    (corpus,) = library.corpora.glob("*/manifest.json")
    (shards,) = library.activations.glob("*/manifest.json")
    job = library.jobs / "20260101-000000-aaaaaa"
    pair = folder_of(library, a, b)
    return {
        "dictionary manifest": library.folder(ID) / MANIFEST_FILE,
        "job state": job / "state.json",
        "job command": job / "command.json",
        "job lock": job / "lock",
        "corpus manifest": corpus,
        "quality report": library.folder(ID) / "quality.json",
        "probing report": library.folder(ID) / "probing.json",
        "comparison": pair / COMPARISON_FILE,
        "transplant": pair / "transplant.json",
        "layers report": path_of(library, a, b, DEFAULT),
        "SAE record": library.saes / SAE / MANIFEST_FILE,
        "SAE report": library.saes / SAE / "quality.json",
        "shards' manifest": shards,
    }


def _corpus(library: Library) -> Corpus:
    texts = library.root.parent / f"{library.root.name}.jsonl"
    write_documents(texts, DOCUMENTS)
    return ingest(CorpusSettings(str(texts)), WindowSettings(4), library.corpora)


def _map(library: Library, a: DictionaryManifest) -> None:
    places = np.linspace(0, 1, a.n_atoms)
    frame = pd.DataFrame({"atom": range(a.n_atoms), "x": places.astype(np.float32), "y": places.astype(np.float32)})
    frame.to_parquet(library.map_path(a.id), index=False)
    write_hash(library.map_path(a.id))


def _reports(library: Library, a: DictionaryManifest) -> None:
    one = {name: (1.0, 2.0) for name in PAIRED}
    points = (Point(a.n_atoms, 2, {"ce_loss_score": _SHARE, "dead": _SHARE, "relative_error": _SHARE}, one),)
    quality = Quality(a.id, 6, 2, 2.5, 7.5, (Series("itda", points),), 1.0, sources=(9, 19), by_document=one)
    write_quality(replace(quality, of_sha256=a.files[ATOMS_FILE]), library.folder(a.id))
    probe = Probe(ITDA, 1, _SHARE, None, 0.5, 0.5, 0.5, (1,), (-1,))
    probing = Probing(
        a.id, a.files[ATOMS_FILE], 40, 0, 36, 12, 9, 3, (ProbedCoder(ITDA, a.n_atoms, 1.5),),
        (ProbedProperty("word:digit", 12, 4, 3, 0.5, 0.6, (probe,)),), (Score(ITDA, 1, _SHARE, None),), {}, 1.0,
    )  # fmt: skip
    write_probing(probing, library.folder(a.id))


def _comparison(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> None:
    pair = Pair(library.index_path(a.id), library.index_path(b.id), "token")
    found = summarise(pair, a.id, b.id, "token")
    pair.close()
    folder = folder_of(library, a, b)
    folder.mkdir(parents=True)
    side = pd.DataFrame({"atom": range(3), "other": range(3), "correlation": 1.0, "together": 6, "weight": 0.3})
    for name in SIDE_FILES.values():
        write_side(side, folder / name)
    files = {name: sha256_of(folder / name) for name in SIDE_FILES.values()}
    write_sealed(folder / COMPARISON_FILE, {"version": 1, **asdict(found), "files": files})


def _transplant(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> None:
    summary = TransplantSummary(a.id, b.id, "token", a.n_atoms, 0, 36, a.settings.l0, 0, 0, None, 0.25)
    atoms = pd.DataFrame({name: [None] * a.n_atoms for name in ATOM_SCHEMA.names} | {"atom": range(a.n_atoms)})
    contexts = pd.DataFrame({name: [] for name in CONTEXT_SCHEMA.names})
    _write(folder_of(library, a, b), summary, {TRANSPLANTED_FILE: atoms, CONTEXTS_FILE: contexts})


def _layers(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> None:
    rows = ((0.9, 0.1), (0.2, 0.8))
    found = LayerSimilarity(
        a.model, b.model, ("resid", "resid"), a.corpus, "token", 36, (1.0, 1.0), 2, 0.1, ((3, 3), (3, 3)), 0.5,
        Interval(0.4, 0.6), 0.1, (6, 6), {name: rows for name in list(LAYER_MEASURES)[:3]}, {"svcca": "too few tokens"},
    )  # fmt: skip
    write_sealed(path_of(library, a, b, DEFAULT), {"version": 2, **asdict(found)})


def _sae(library: Library, a: DictionaryManifest) -> None:
    folder = library.saes / SAE
    folder.mkdir(parents=True)
    for name in SAE_FILES:
        (folder / name).write_bytes(b"{}")
    files = {name: sha256_of(folder / name) for name in SAE_FILES}
    record = SaeRecord(
        SAE, "topk", 3, 2, a.d_model, None, None, SaeSettings(tokens=2000), 2000, 36, 1.0, a.model, None, None,
        a.tokenizer_sha256, a.site, a.id, a.corpus, a.cut, True, "2026-11-26T20:00:00+00:00", {"torch": "2"}, files,
    )  # fmt: skip
    write_sealed(folder / MANIFEST_FILE, record.manifest())
    points = (Point(3, 2, {"ce_loss_score": _SHARE}, {}),)
    quality = Quality(SAE, 6, 2, 2.5, 7.5, (Series("sae", points),), 1.0, sources=(9, 19))
    write_quality(replace(quality, of_sha256=files[WEIGHTS_FILE]), folder)


def _activations(folder: Path, site: Site) -> None:
    sources = torch.tensor([[document, 1] for document in range(6)])
    x = torch.from_numpy(np.tile(CODES[:6], 3)[:, :8].astype(np.float32))
    batches = [Batch({site: x[:3]}, sources[:3]), Batch({site: x[3:]}, sources[3:])]
    record_activations(lambda first: map(pack, batches[first:]), folder)


def whole_library(folder: Path) -> Library:
    library = write_whole_library(folder / "library")
    export(library, ID, "safetensors", library.root / "exported")
    return library


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return write_whole_library(tmp_path_factory.mktemp("whole") / "library")


@pytest.fixture
def opened(whole: Library) -> Iterator[Library]:
    """The library where others may read it."""
    with open_copy(whole.root) as root:
        yield Library(root)
