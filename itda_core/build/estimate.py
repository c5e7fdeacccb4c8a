"""Estimate a build's time, memory and disk before it starts."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
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
"""Memory of a build besides its model: peak of building docs-a, layer 2, on 40,000 tokens was 1.02 GB in all."""
CODE_BYTES = 19
"""Bytes of an index per pursuit step and token, where the library has no dictionary to tell: docs-a, layer 2, L0 20."""
REMOTE_PARAMETERS = 30_000_000_000
"""From here on a model is taken to be one for a remote service whatever this machine has."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SAME_START = 3.0  # seconds: dictionaries of one run say when they ended and how long it took, so when it began
_RUNS = 8  # the latest that are asked
_IDLE = 4  # a model that small keeps a machine this many times less busy than a large one


@dataclass(frozen=True)
class Run:
    """An earlier run: one model, one corpus, all dictionaries that came of it."""

    model: str
    """Name of the model."""
    layers: tuple[int, ...]
    """Layers that dictionaries are there of."""
    n_sites: int
    """Dictionaries."""
    d_model: int
    """Width of the activations."""
    n_tokens: int
    """Tokens captured."""
    n_atoms: int
    """Atoms of the largest dictionary."""
    seconds: float
    """Time of the run, without reading the corpus, loading the model, and the maps."""
    created: str
    """When it ended, in UTC, ISO 8601."""

    @property
    def rate(self) -> float:
        """Tokens a second, built and encoded."""
        return self.n_tokens / max(self.seconds, 1e-9)

    @property
    def work(self) -> float:
        """Work of the model on one token, up to the deepest layer."""
        return _work(self.d_model, max(self.layers))


@dataclass(frozen=True)
class BuildRequest:
    """A build that is to be estimated."""

    model: str
    """Name of the model as a manifest would have it."""
    shape: ModelShape
    """What is known of it."""
    dtype: str
    """What it computes in."""
    corpus: CorpusSettings
    """Which texts."""
    cut: WindowSettings
    """How they are cut."""
    build: BuildSettings
    """What is captured."""
    dictionary: DictionarySettings
    """How each dictionary is built."""
    remote: bool = False
    """Whether the model runs on a server."""

    @property
    def n_sites(self) -> int:
        """Dictionaries that it gives."""
        return len(self.build.layers) * len(self.build.hooks)


def kept_bytes(tokens: int, sites: int, d_model: int) -> int:
    """Bytes of activations as they are kept, and as they come from a server: float16 with a float32 norm each."""
    return tokens * sites * (2 * d_model + 4)


@dataclass(frozen=True)
class Estimate:
    """What a build will cost, as far as it can be told."""

    tokens: int
    """Tokens to capture at most."""
    documents: int | None
    """Documents of the corpus, as far as they are known before it is read; None where they are not."""
    n_sites: int
    """Dictionaries."""
    passes: int
    """How often the model reads them."""
    seconds: tuple[float, float] | None
    """From and to, for building and encoding; None where nothing tells."""
    runs: tuple[Run, ...]
    """The runs that the time rests on."""
    scale: float
    """How many times more work a token is here than in those runs."""
    memory: int | None
    """Bytes of memory; None where the model's size is not known."""
    disk: int
    """Bytes that the library grows by."""
    transfer: int | None
    """Bytes that come from the server, before compression; None where none do, or the model's width is not known."""
    machine_memory: int | None
    """Bytes of memory that this machine lets a process have, where it tells."""
    free_disk: int
    """Bytes that are free where the library is."""
    is_for_remote: bool
    """Whether the model is too large for this machine, or for most."""


def estimate(
    asked: BuildRequest, library: Library, records: Sequence[DictionaryManifest], corpora: Sequence[Corpus]
) -> Estimate:
    """Tell what a build will cost.

    Args:
        asked: the build.
        library: where it would go.
        records: the dictionaries that are there.
        corpora: the corpora that are there.
    """
    documents = _documents(asked, corpora)
    tokens = _tokens(asked, documents)
    runs = _comparable(asked, runs_of(records))
    layers, width = asked.build.layers, asked.shape.d_model
    seconds, scale = None, 1.0
    if asked.remote:
        runs = []  # how long a server takes is its own affair
    if runs and (width is not None or all(run.model == asked.model for run in runs)):
        works = [_work(width or run.d_model, max(layers)) / run.work for run in runs]
        spans = [_span(asked.n_sites, tokens, run, work) for run, work in zip(runs, works, strict=True)]
        seconds = median(low for low, _ in spans), median(high for _, high in spans)
        scale = median(works)
    else:
        runs = []
    memory, machine = _memory(asked, tokens, runs), machine_memory()
    n_parameters = asked.shape.n_parameters or 0
    return Estimate(
        tokens=tokens,
        documents=documents,
        n_sites=asked.n_sites,
        passes=1 if _keeps(asked) else 2,
        seconds=seconds,
        runs=tuple(runs),
        scale=scale,
        memory=memory,
        disk=_disk(asked, tokens, library, records),
        transfer=kept_bytes(tokens, asked.n_sites, width) if asked.remote and width else None,
        machine_memory=machine,
        free_disk=_free(library.root),
        is_for_remote=not asked.remote
        and (n_parameters >= REMOTE_PARAMETERS or bool(memory and machine and memory > machine)),
    )


def runs_of(records: Sequence[DictionaryManifest]) -> list[Run]:
    """The runs that dictionaries came of, the latest first: those of one model that began at the same moment."""
    groups: defaultdict[tuple, list[list[DictionaryManifest]]] = defaultdict(list)
    for record in sorted(records, key=_began):
        same = groups[record.model, record.weights_sha256, record.corpus, record.n_tokens, record.settings]
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
        return 0.0  # a manifest that came from elsewhere and has another form of time


def _comparable(asked: BuildRequest, runs: Sequence[Run]) -> list[Run]:
    """The runs to go by: those of the same model, or else those of the model that is nearest in width."""
    own = [run for run in runs if run.model == asked.model]
    if own or asked.shape.d_model is None:
        return own[:_RUNS]
    width = asked.shape.d_model
    nearest = min((max(run.d_model / width, width / run.d_model) for run in runs), default=None)
    return [run for run in runs if max(run.d_model / width, width / run.d_model) == nearest][:_RUNS]


def _span(n_sites: int, tokens: int, run: Run, work: float) -> tuple[float, float]:
    """From and to, in seconds, scaled from one run.

    The model's pass is shared by all sites and the pursuit is each site's own, so twice the sites take between once and
    twice the time. A large model keeps the machine busier than a small one does, so twice the work takes less than
    twice the time.
    """
    sites = n_sites / run.n_sites
    low = min(1.0, sites) * (max(1.0, work / _IDLE) if work > 1 else work)
    high = max(1.0, sites) * max(1.0, work)
    same = run.seconds * tokens / max(run.n_tokens, 1)
    return low * same, high * same


def _documents(asked: BuildRequest, corpora: Sequence[Corpus]) -> int | None:
    """Documents of the corpus when it was read last, of a text about as many as it will be cut into, or as asked."""
    size = text_bytes(asked.corpus)
    if size is not None:
        found = max(1, size // passage_bytes(size, asked.cut.context))
    else:
        found = max((corpus.n_documents for corpus in corpora if corpus.settings == asked.corpus), default=None)
    limit = asked.corpus.documents
    return limit if found is None else min(found, limit or found)


def _tokens(asked: BuildRequest, documents: int | None) -> int:
    """Tokens that will be captured at most: as asked, or about as many as the documents' windows have."""
    size = text_bytes(asked.corpus)
    bounds = [asked.build.tokens]
    if size is not None:
        bounds.append(max(1, size // TOKEN_BYTES))
    if documents is not None and asked.cut.windows == "first":
        bounds.append(documents * (asked.cut.context - (not asked.cut.keep_first)))
    return min(bounds)


def _memory(asked: BuildRequest, tokens: int, runs: Sequence[Run]) -> int | None:
    if asked.shape.n_parameters is None and not asked.remote:
        return None
    grown = [round(run.n_atoms * max(1.0, tokens / max(run.n_tokens, 1))) for run in runs]
    atoms = min(tokens, asked.dictionary.max_atoms or tokens, max(grown, default=0))
    width = asked.shape.d_model or 0
    # Each dictionary: its atoms, and the products of each with each in 16 bits, four GiB of them at most.
    dictionaries = asked.n_sites * (atoms * width * 4 + min(2 * atoms**2, 4 << 30))
    if asked.dictionary.recipe != "published":
        dictionaries += (
            asked.n_sites * min(tokens, RESERVOIR_ROWS) * width * 5
        )  # a sample, a quarter more while it grows
    if asked.dictionary.recipe == "pruned":
        dictionaries += 4 * atoms * width * 4 + min(2 * (4 * atoms) ** 2, 4 << 30)  # the candidates of one at a time
    weights = 0 if asked.remote else (asked.shape.n_parameters or 0) * _BYTES[asked.dtype]
    return PROCESS_BYTES + weights + dictionaries


def _disk(asked: BuildRequest, tokens: int, library: Library, records: Sequence[DictionaryManifest]) -> int:
    indexes = [(library.dictionaries / record.id / INDEX_FILE, record) for record in records]
    measured = [
        path.stat().st_size / max(1, record.n_tokens * record.settings.l0) for path, record in indexes if path.is_file()
    ]
    disk = asked.n_sites * tokens * asked.dictionary.l0 * (median(measured) if measured else CODE_BYTES)
    if _keeps(asked):
        disk += kept_bytes(tokens, asked.n_sites, asked.shape.d_model or 0)
    return round(disk)


def _keeps(asked: BuildRequest) -> bool:
    return asked.build.keep_activations or asked.remote


def _free(root: Path) -> int:
    place = root
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _work(d_model: int, deepest: int) -> float:
    return 12.0 * d_model**2 * (deepest + 1)
