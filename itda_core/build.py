"""From a model and a corpus to whole dictionaries in a library: capture, build, encode, index, map."""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch

from itda_core.builder import DictionaryBuilder
from itda_core.capture import Batch, Capture
from itda_core.config import BuildSettings, DictionarySettings
from itda_core.corpus import Corpus
from itda_core.dictionary import Dictionary
from itda_core.files import sha256_of, slug, write_json
from itda_core.index import IndexWriter
from itda_core.jobs import Job, dictionary_lock
from itda_core.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.library import Library
from itda_core.maps import SMALLEST_MAP, compute_map
from itda_core.models import Model, load_model
from itda_core.shards import pack, record_activations
from itda_core.types import Site, UserError
from itda_core.windows import TokenTable, cut

_PACKAGES = ("itda-explorer", "torch", "transformers", "nnsight", "numpy", "numba", "duckdb")


@dataclass(frozen=True)
class Request:
    """One run of a build: a model, a corpus, where and how."""

    model: str
    """A folder in Hugging Face format, or an id of the Hub."""
    corpus: Corpus
    """Which texts, and how they are cut."""
    build: BuildSettings
    """What is captured."""
    dictionary: DictionarySettings
    """How each dictionary is built."""
    revision: str | None = None
    """Revision of the model on the Hub."""
    device: str | None = None
    """Where the model runs; None takes CUDA where there is one."""
    dtype: str = "float32"
    """What the model computes in."""


def build(library: Library, request: Request, job: Job) -> list[str]:
    """Build the dictionaries of a request and return their ids, those that were whole already included.

    Each is written beside its place and renamed into it once whole. The model runs twice over the corpus, once to build
    and once to encode with the finished atoms, unless the activations are kept on disk.

    Raises:
        UserError: anything of the request that cannot be done.
    """
    request.dictionary.check_scan()
    corpus = request.corpus
    job.stage(f"loading {request.model}")
    model = load_model(request.model, request.revision, request.device, request.dtype)
    sites = [Site(layer, hook) for layer in request.build.layers for hook in request.build.hooks]
    for site in sites:
        model.module(site)
    identity = {
        "model": model.name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256(),
        "tokenizer_sha256": model.tokenizer_sha256(),
        "dtype": request.dtype,
        "corpus": corpus.id,
        "cut": asdict(corpus.cut),
        "tokens": request.build.tokens,
        "holdout": request.build.holdout,
        "batch_windows": request.build.batch_windows,
        "half_precision": request.build.keep_activations,  # what is kept is kept in float16
        "settings": asdict(request.dictionary),
    }
    ids = {site: _dictionary_id(model, site, identity) for site in sites}
    with ExitStack() as locks:
        for dictionary_id in ids.values():
            locks.enter_context(dictionary_lock(library.root, dictionary_id))
        missing = [site for site in sites if not _is_whole(library, ids[site])]
        if missing:
            _Run(library, request, model, identity, {site: ids[site] for site in missing}, job).run()
    return list(ids.values())


def add_maps(library: Library, ids: Sequence[str], job: Job) -> None:
    """Compute the maps that are missing; a dictionary too small for one goes without."""
    for dictionary_id in ids:
        path = library.map_path(dictionary_id)
        if not path.is_file() and library.record(dictionary_id).n_atoms >= SMALLEST_MAP:
            job.stage(f"mapping {dictionary_id}", 1, "maps")
            compute_map(library.folder(dictionary_id), path)
            job.advance(1)


class _Run:
    """One pass from activations to whole dictionaries."""

    def __init__(
        self,
        library: Library,
        request: Request,
        model: Model,
        identity: dict,
        ids: dict[Site, str],
        job: Job,
    ) -> None:
        self._library, self._request, self._model, self._corpus = library, request, model, request.corpus
        self._identity, self._ids, self._job = identity, ids, job
        self._started = time.perf_counter()

    def run(self) -> None:
        tokens, holdout = self._request.build.tokens, self._request.build.holdout
        self._table = TokenTable.of(self._windows(), holdout)
        if self._table.n_captured == 0:
            raise UserError(f"nothing to capture: every document of {self._corpus.id} has a single token or none")
        if holdout and not any(map(self._table.held_out, np.unique(self._table.document))):
            raise UserError(
                f"{tokens} tokens reach no held-out document (every tenth): raise --tokens or give --no-holdout"
            )
        capture = Capture(self._model, list(self._ids), self._windows, self._request.build.batch_windows)
        batches: Iterable[Batch] = capture
        if self._request.build.keep_activations:
            self._job.stage("capturing", self._table.n_captured)
            captured = {key: value for key, value in self._identity.items() if key not in ("settings", "holdout")}
            folder = self._library.activations / f"{self._corpus.id}-{_short_hash(captured, list(self._ids))}"
            batches = record_activations(lambda first: map(pack, capture.batches(first)), folder, self._job.advance)
        dictionaries = self._build(batches)
        parts = {site: self._new_part(self._ids[site]) for site in dictionaries}
        try:
            self._encode(batches, dictionaries, parts)
            for site, part in parts.items():
                self._place(part, self._library.dictionaries / self._ids[site])
                self._job.finished(self._ids[site])
        finally:
            for part in parts.values():
                shutil.rmtree(part, ignore_errors=True)

    def _windows(self):
        return cut(self._corpus.documents(), self._model.tokenizer, self._corpus.cut, self._request.build.tokens)

    def _build(self, batches: Iterable[Batch]) -> dict[Site, Dictionary]:
        builders = {site: DictionaryBuilder(self._request.dictionary) for site in self._ids}
        self._job.stage("building", self._table.n_captured)
        for batch in batches:
            used = ~self._held_out(batch)
            for site, builder in builders.items():
                builder.add(batch.activations[site][used], batch.sources[used])
                self._job.grown(self._ids[site], builder.history)
            self._job.advance(len(batch.sources))
        dictionaries = {site: builder.finish() for site, builder in builders.items()}
        for site, dictionary in dictionaries.items():
            if len(dictionary) == 0:
                raise UserError(
                    f"no activation of layer {site.layer} {site.hook} is over the threshold "
                    f"{self._request.dictionary.threshold:g}: lower --threshold"
                )
        return dictionaries

    def _held_out(self, batch: Batch) -> torch.Tensor:
        """[n] whether each row is kept out of building."""
        return torch.tensor([self._table.held_out(document) for document in batch.sources[:, 0].tolist()])

    def _encode(self, batches: Iterable[Batch], dictionaries: dict[Site, Dictionary], parts: dict[Site, Path]) -> None:
        """Encode every captured token and fill each dictionary's folder."""
        writers = {site: IndexWriter(parts[site] / ".staging.duckdb") for site in dictionaries}
        measured = dict.fromkeys(dictionaries, 0.0)
        n_measured = 0
        self._job.stage("encoding", self._table.n_captured)
        for batch in batches:
            held_out = self._held_out(batch) if self._request.build.holdout else torch.ones(len(batch.sources)).bool()
            n_measured += int(held_out.sum())
            sources = batch.sources.numpy()
            tokens = self._table.ordinal(sources[:, 0], sources[:, 1])
            for site, dictionary in dictionaries.items():
                x = batch.activations[site]
                codes = dictionary.encode(x)
                errors = relative_errors(x, dictionary.decode(codes, len(x)))
                measured[site] += float(errors[held_out].sum(dtype=torch.float64))
                writers[site].add(tokens, codes, errors.numpy())
            self._job.advance(len(batch.sources))
        self._job.stage("indexing", len(dictionaries), "dictionaries")
        for site, dictionary in dictionaries.items():
            part = parts[site]
            writers[site].write(part / INDEX_FILE, dictionary, self._table, self._corpus.documents())
            writers[site].close()
            dictionary.write_atoms(part)
            self._write_manifest(part, site, dictionary, measured[site] / n_measured, n_measured)
            self._job.advance(1)

    def _write_manifest(
        self, part: Path, site: Site, dictionary: Dictionary, relative_error: float, n_measured: int
    ) -> None:
        manifest = {
            **dictionary.describe(),
            **self._identity,
            "id": self._ids[site],
            "layer": site.layer,
            "hook": site.hook,
            "n_layers": self._model.n_layers,
            "n_tokens": self._table.n_captured,
            "relative_error": relative_error,
            "measured_tokens": n_measured,
            "seconds": time.perf_counter() - self._started,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "python": platform.python_version(),
                **{package: importlib.metadata.version(package) for package in _PACKAGES},
            },
            "files": {name: sha256_of(part / name) for name in (ATOMS_FILE, INDEX_FILE)},
        }
        write_json(part / MANIFEST_FILE, manifest)

    def _new_part(self, dictionary_id: str) -> Path:
        """An empty folder beside the dictionary's place; what a killed build of it left there is removed."""
        root = self._library.dictionaries
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f".{dictionary_id}.*"):  # its lock is ours, so nobody writes there
            shutil.rmtree(left)
        part = root / f".{dictionary_id}.{uuid4().hex}"
        part.mkdir()
        return part

    def _place(self, part: Path, folder: Path) -> None:
        if folder.exists():  # damaged, or it would not have been built again
            folder.rename(part.with_name(part.name + ".damaged"))
        part.rename(folder)
        shutil.rmtree(part.with_name(part.name + ".damaged"), ignore_errors=True)


def relative_errors(x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    """[n] |x − x'|² / |x|² of activations [n, d_model]; 0 for a zero row, of which nothing is unexplained."""
    total = x.pow(2).sum(1)
    return torch.where(total > 0, (x - reconstruction).pow(2).sum(1) / total.clamp_min(torch.finfo(x.dtype).tiny), 0)


def _dictionary_id(model: Model, site: Site, identity: dict) -> str:
    return f"{slug(model.name)}-l{site.layer}-{site.hook}-{_short_hash(identity, [site])}"


def _short_hash(identity: dict, sites: list[Site]) -> str:
    text = json.dumps([identity, [[site.layer, site.hook] for site in sites]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _is_whole(library: Library, dictionary_id: str) -> bool:
    return dictionary_id in library.ids() and not any(library.verify(dictionary_id))
