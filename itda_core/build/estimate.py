"""Estimate a build's time, memory and disk usage before it starts."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median

from itda_core.common.layout import INDEX_FILE
from itda_core.common.machine import machine_memory
from itda_core.common.settings import RESERVOIR_ROWS, BuildSettings, CorpusSettings, DictionarySettings, WindowSettings
from itda_core.corpus.readers import text_bytes
from itda_core.corpus.splitting import TOKEN_BYTES, passage_bytes
from itda_core.corpus.store import Corpus
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.metadata import ModelShape

PROCESS_BYTES = 1_000_000_000
"""Memory of a build besides its model: the peak of building docs-a, layer 2, on 40,000 tokens was 1.02 GB in total."""
CODE_BYTES = 19
"""Index bytes per pursuit step and token if the library has no dictionary to measure: docs-a, layer 2, L0 20."""
REMOTE_PARAMETERS = 30_000_000_000
"""Parameter count from which remote execution is recommended, whatever the memory of this machine."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SAME_START = 3.0  # seconds: manifests record end time and duration; sites of one run have almost equal start times
_RUNS = 8  # number of latest runs used for the estimate
_TRIALS = 4  # usual number of passes that find the threshold for a number of atoms
_FREE_SHARE = 0.5  # of the free disk space, at most, holds the activations of a run
_IDLE = 4  # a small model utilises the machine up to this factor less than a large one


@dataclass(frozen=True)
class Run:
    """An earlier run: one model and corpus, with all dictionaries that it built."""

    model: str
    """Name of the model."""
    layers: tuple[int, ...]
    """Layers of the run's dictionaries."""
    n_sites: int
    """Number of dictionaries."""
    d_model: int
    """Activation dimension."""
    n_tokens: int
    """Number of tokens captured."""
    n_atoms: int
    """Number of atoms of the largest dictionary."""
    seconds: float
    """Duration of the run in seconds, without reading the corpus, loading the model, and the maps."""
    created: str
    """End time, in UTC, ISO 8601."""

    @property
    def rate(self) -> float:
        """Throughput of building and encoding, in tokens per second."""
        return self.n_tokens / max(self.seconds, 1e-9)

    @property
    def work(self) -> float:
        """Relative cost of the model's forward pass per token, up to the deepest layer."""
        return _work(self.d_model, max(self.layers))


@dataclass(frozen=True)
class BuildRequest:
    """A build to be estimated."""

    model: str
    """Name of the model, in the form that a manifest records."""
    shape: ModelShape
    """Known dimensions of the model."""
    dtype: str
    """Data type of the model's computation."""
    corpus: CorpusSettings
    """Corpus of texts."""
    cut: WindowSettings
    """Window settings."""
    build: BuildSettings
    """Sites and tokens to capture."""
    dictionary: DictionarySettings
    """Dictionary-building settings, the same for every site."""
    remote: bool = False
    """Whether the model runs on a server."""

    @property
    def n_sites(self) -> int:
        """Number of dictionaries that the build produces."""
        return len(self.build.layers) * len(self.build.hooks)


def kept_bytes(tokens: int, sites: int, d_model: int) -> int:
    """Return the size in bytes of stored or transferred activations.

    Each activation is stored, and sent by a server, as float16 values with one float32 norm.
    """
    return tokens * sites * (2 * d_model + 4)


def scratch_bytes(tokens: int, sites: int, d_model: int) -> int:
    """Return the size in bytes of activations that are stored until a run ends, as float32 values."""
    return tokens * sites * (4 * d_model + 4)


def fits(size: int, index: float, free: int) -> bool:
    """Return whether activations may be stored until a run ends.

    Args:
        size: their bytes.
        index: bytes of the indexes that the run writes, for which twice as much is left while they are written.
        free: free bytes.
    """
    return size <= _FREE_SHARE * (free - 2 * index)


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a build."""

    tokens: int
    """Upper bound on the tokens to capture."""
    documents: int | None
    """Number of documents of the corpus, as far as it is known before reading; None if unknown."""
    n_sites: int
    """Number of dictionaries."""
    passes: int
    """Number of passes of the model over the tokens."""
    scratch: int
    """Bytes of disk for activations until the build ends; 0 if they are kept for good, or have no room."""
    seconds: tuple[float, float] | None
    """Lower and upper bound of the seconds for building and encoding; None without comparable runs."""
    runs: tuple[Run, ...]
    """Earlier runs that the time estimate is based on."""
    scale: float
    """Model cost per token relative to those runs."""
    memory: int | None
    """Bytes of memory; None if the model's size is not known."""
    disk: int
    """Bytes by which the library grows."""
    transfer: int | None
    """Bytes transferred from the server, before compression; None for a local build or an unknown activation
    dimension."""
    machine_memory: int | None
    """Bytes of memory that this machine grants a process, if it reports a limit."""
    free_disk: int
    """Free bytes on the library's disk."""
    is_for_remote: bool
    """Whether the model is too large for this machine, or for most machines."""


def estimate(
    request: BuildRequest, library: Library, records: Sequence[DictionaryManifest], corpora: Sequence[Corpus]
) -> Estimate:
    """Estimate the cost of a build.

    Args:
        request: the build.
        library: the library that it would be added to.
        records: manifests of the library's dictionaries.
        corpora: the library's corpora.
    """
    documents = _documents(request, corpora)
    tokens = _tokens(request, documents)
    runs = _comparable(request, runs_of(records))
    layers, width = request.build.layers, request.shape.d_model
    seconds, scale = None, 1.0
    if request.remote:
        runs = []  # runtime on a server cannot be estimated from local runs
    if runs and (width is not None or all(run.model == request.model for run in runs)):
        works = [_work(width or run.d_model, max(layers)) / run.work for run in runs]
        spans = [_span(request.n_sites, tokens, run, work) for run, work in zip(runs, works, strict=True)]
        seconds = median(low for low, _ in spans), median(high for _, high in spans)
        scale = median(works)
    else:
        runs = []
    memory, machine = _memory(request, tokens, runs), machine_memory()
    free, scratch = _free(library.root), 0
    if not _keeps(request) and width is not None:
        size = scratch_bytes(tokens, request.n_sites, width)
        scratch = size if fits(size, _disk(request, tokens, library, records), free) else 0
    dictionary = request.dictionary
    again = (
        2
        + (dictionary.max_norm is not None)
        + (dictionary.center == "mean")
        + (dictionary.n_atoms is not None) * _TRIALS
    )
    n_parameters = request.shape.n_parameters or 0
    return Estimate(
        tokens=tokens,
        documents=documents,
        n_sites=request.n_sites,
        passes=1 if scratch or _keeps(request) else again,
        scratch=scratch,
        seconds=seconds,
        runs=tuple(runs),
        scale=scale,
        memory=memory,
        disk=_disk(request, tokens, library, records),
        transfer=kept_bytes(tokens, request.n_sites, width) if request.remote and width else None,
        machine_memory=machine,
        free_disk=free,
        is_for_remote=not request.remote
        and (n_parameters >= REMOTE_PARAMETERS or bool(memory and machine and memory > machine)),
    )


def runs_of(records: Sequence[DictionaryManifest]) -> list[Run]:
    """Return the runs that produced the dictionaries, latest first.

    Dictionaries of one model, weights, corpus and settings that began at the same moment count as one run.
    """
    groups: defaultdict[tuple, list[list[DictionaryManifest]]] = defaultdict(list)
    for record in sorted(records, key=_began):
        settings = replace(record.settings, threshold=0.0)  # a number of atoms gives each site its own
        same = groups[record.model, record.weights_sha256, record.corpus, record.n_tokens, settings]
        if same and _began(record) - _began(same[-1][-1]) < _SAME_START:
            same[-1].append(record)
        else:
            same.append([record])
    runs = [
        Run(
            model=group[0].model,
            layers=tuple(sorted({record.site.layer for record in group})),
            n_sites=len(group),
            d_model=group[0].d_model,
            n_tokens=group[0].n_tokens,
            n_atoms=max(record.n_atoms for record in group),
            seconds=max(record.seconds for record in group),
            created=max(record.created for record in group),
        )
        for same in groups.values()
        for group in same
    ]
    return sorted(runs, key=lambda run: run.created, reverse=True)


def _began(record: DictionaryManifest) -> float:
    try:
        return datetime.fromisoformat(record.created).timestamp() - record.seconds
    except (ValueError, OverflowError):
        return 0.0  # an imported manifest with another time format


def _comparable(request: BuildRequest, runs: Sequence[Run]) -> list[Run]:
    """Return the earlier runs to estimate from.

    These are runs of the same model, or else of the model with the nearest activation dimension.
    """
    own = [run for run in runs if run.model == request.model]
    if own or request.shape.d_model is None:
        return own[:_RUNS]
    width = request.shape.d_model
    nearest = min((max(run.d_model / width, width / run.d_model) for run in runs), default=None)
    return [run for run in runs if max(run.d_model / width, width / run.d_model) == nearest][:_RUNS]


def _span(n_sites: int, tokens: int, run: Run, work: float) -> tuple[float, float]:
    """Return lower and upper bounds of the duration in seconds, scaled from one run.

    All sites share the model's forward pass, while each site has its own pursuit, so twice the sites take between
    once and twice the time. A large model utilises the machine better than a small one, so twice the work takes less
    than twice the time.
    """
    sites = n_sites / run.n_sites
    low = min(1.0, sites) * (max(1.0, work / _IDLE) if work > 1 else work)
    high = max(1.0, sites) * max(1.0, work)
    same = run.seconds * tokens / max(run.n_tokens, 1)
    return low * same, high * same


def _documents(request: BuildRequest, corpora: Sequence[Corpus]) -> int | None:
    """Return the estimated number of documents.

    For a text, the number of passages that it will be split into; otherwise the count recorded when the corpus was
    last read; at most the requested limit.
    """
    size = text_bytes(request.corpus)
    if size is not None:
        found = max(1, size // passage_bytes(size, request.cut.context))
    else:
        found = max((corpus.n_documents for corpus in corpora if corpus.settings == request.corpus), default=None)
    limit = request.corpus.documents
    return limit if found is None else min(found, limit or found)


def _tokens(request: BuildRequest, documents: int | None) -> int:
    """Return an upper bound on the tokens to capture.

    The bound is the requested number, or the approximate number of tokens in the documents' windows if that is
    smaller.
    """
    size = text_bytes(request.corpus)
    bounds = [request.build.tokens]
    if size is not None:
        bounds.append(max(1, size // TOKEN_BYTES))
    if documents is not None and request.cut.windows == "first":
        bounds.append(documents * (request.cut.context - (not request.cut.keep_first)))
    return min(bounds)


def _memory(request: BuildRequest, tokens: int, runs: Sequence[Run]) -> int | None:
    if request.shape.n_parameters is None and not request.remote:
        return None
    grown = [round(run.n_atoms * max(1.0, tokens / max(run.n_tokens, 1))) for run in runs]
    limit = request.dictionary.max_atoms or tokens
    atoms = min(tokens, request.dictionary.n_atoms or min(limit, max(grown, default=0)))
    width = request.shape.d_model or 0
    # Each dictionary: its atoms, and their pairwise products in 16 bits, four GiB of these at most.
    dictionaries = request.n_sites * (atoms * width * 4 + min(2 * atoms**2, 4 << 30))
    if request.dictionary.recipe != "published":
        dictionaries += (
            request.n_sites * min(tokens, RESERVOIR_ROWS) * width * 5
        )  # a sample, a quarter more while it grows
    if request.dictionary.recipe == "pruned":
        dictionaries += 4 * atoms * width * 4 + min(2 * (4 * atoms) ** 2, 4 << 30)  # candidates of one at a time
    weights = 0 if request.remote else (request.shape.n_parameters or 0) * _BYTES[request.dtype]
    return PROCESS_BYTES + weights + dictionaries


def _disk(request: BuildRequest, tokens: int, library: Library, records: Sequence[DictionaryManifest]) -> int:
    indexes = [(library.dictionaries / record.id / INDEX_FILE, record) for record in records]
    measured = [
        path.stat().st_size / max(1, record.n_tokens * record.settings.l0) for path, record in indexes if path.is_file()
    ]
    disk = request.n_sites * tokens * request.dictionary.l0 * (median(measured) if measured else CODE_BYTES)
    if _keeps(request):
        disk += kept_bytes(tokens, request.n_sites, request.shape.d_model or 0)
    return round(disk)


def _keeps(request: BuildRequest) -> bool:
    return request.build.keep_activations or request.remote


def _free(root: Path) -> int:
    place = root
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _work(d_model: int, deepest: int) -> float:
    return 12.0 * d_model**2 * (deepest + 1)
