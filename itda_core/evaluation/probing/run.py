"""Probe a dictionary and its baselines on text that it was not built from."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from itda_core.common.disk_errors import writing
from itda_core.common.errors import DamagedError
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.settings import ProbingSettings
from itda_core.common.types import Codes
from itda_core.corpus.store import Corpus
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.coders import Coder, DictionaryCoder
from itda_core.evaluation.held_out import TokensOfModel, random_dictionary
from itda_core.evaluation.probing.dataset import ProbedTokens, read_tokens
from itda_core.evaluation.probing.features import CodeFeatures, DenseFeatures, DirectionFeatures, Features
from itda_core.evaluation.probing.probe import ProbeDataset, run_probes, split
from itda_core.evaluation.sae.run import load_coder
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.locate import open_model
from itda_core.reports.probing import (
    DIMENSIONS,
    DIRECTIONS,
    ITDA,
    RANDOM_ATOMS,
    SAE,
    ProbedCoder,
    Probing,
    read_probing,
    write_probing,
)
from itda_core.reports.sae import SaeRecord, sae_records

_ROWS_AT_ONCE = 4096


def probe(library: Library, dictionary_id: str, job: Job, settings: ProbingSettings | None = None) -> Probing:
    """Probe a dictionary and store the report.

    A stored report of the same settings and SAEs is reused. SAEs that cannot be read are reported and left out; a
    damaged report is replaced.

    Raises:
        UserError: the id is unknown, the dictionary's model is not on this machine, or the corpus has too little text
            that it was not built from.
    """
    settings = settings or ProbingSettings()
    record = library.record(dictionary_id)
    if (found := _kept(library, record, job, settings)) is not None:
        return found
    with build_lock(library.root, f"probe-{dictionary_id}"):
        if (found := _kept(library, record, job, settings)) is not None:  # by a process that held the lock before
            return found
        report = _probe(library, record, job, settings)
        folder = library.folder(dictionary_id)
        with writing(folder):
            write_probing(report, folder)
        return report


def sae_ids(library: Library, record: DictionaryManifest) -> list[str]:
    """Return the ids of the sparse autoencoders of a dictionary's site.

    These are probed beside the dictionary if they can be read.
    """
    return [each.id for each in sae_records(library) if isinstance(each, SaeRecord) and each.is_of(record)]


def _coders(library: Library, ids: Iterable[str], job: Job) -> Iterator[tuple[str, Coder]]:
    """Yield SAEs with their names in a report.

    One that cannot be read is reported and left out.
    """
    for sae_id in ids:
        try:
            yield SAE + sae_id, load_coder(library, sae_id)
        except DamagedError as error:
            job.say(f"left out: {error}")


def _kept(library: Library, record: DictionaryManifest, job: Job, settings: ProbingSettings) -> Probing | None:
    try:
        found = read_probing(record, library.folder(record.id))
    except DamagedError as error:
        job.say(f"probing anew: {error}")
        return None
    if found is None or (found.asked, found.seed) != (settings.tokens, settings.seed):
        return None
    probed = {each.name.removeprefix(SAE) for each in found.coders if each.name.startswith(SAE)}
    there = set(sae_ids(library, record))
    # SAEs that were left out because they cannot be read, and still cannot, do not make a report incomplete.
    is_whole = probed <= there and next(_coders(library, sorted(there - probed), job), None) is None
    return found if is_whole else None


def _probe(library: Library, record: DictionaryManifest, job: Job, settings: ProbingSettings) -> Probing:
    began = time.monotonic()
    dictionary = Dictionary.load(library.folder(record.id))
    corpus = Corpus.open(library.corpus_folder(record))
    saes = dict(_coders(library, sae_ids(library, record), job))
    job.stage(f"loading {record.model}")
    model = open_model(record, library.root)
    tokens = read_tokens(record, corpus, model, settings.tokens, job)
    job.stage("drawing random atoms")
    mean = dictionary.mean if dictionary.is_centered else None
    drawn = random_dictionary(TokensOfModel(record, model, corpus), record, settings.seed, mean)
    coders: dict[str, Coder] = {
        ITDA: DictionaryCoder(dictionary, record.settings.l0),
        RANDOM_ATOMS: DictionaryCoder(drawn, record.settings.l0),
        **saes,
    }
    job.stage("encoding", len(coders) * len(tokens.x), "tokens")
    features: dict[str, Features] = {}
    active: dict[str, float] = {}
    for name, coder in coders.items():
        codes = _encoded(coder, tokens.x, job)
        features[name] = CodeFeatures(codes, len(tokens.x), coder.latents)
        active[name] = len(codes.row) / len(tokens.x)
    x = tokens.x.numpy()
    features[DIMENSIONS] = DenseFeatures(x)
    features[DIRECTIONS] = DirectionFeatures(x, len(dictionary), settings.seed)
    job.stage("probing", len(tokens.labels), "properties")
    found = run_probes(_marked(tokens), features, settings.seed, job.advance)
    is_test = split(tokens.n_documents, settings.seed)
    return Probing(
        id=record.id,
        atoms_sha256=record.files[ATOMS_FILE],
        asked=settings.tokens,
        seed=settings.seed,
        tokens=len(tokens.x),
        documents=tokens.n_documents,
        test_tokens=int(np.count_nonzero(is_test[tokens.document])),
        test_documents=int(np.count_nonzero(is_test)),
        coders=tuple(
            ProbedCoder(name, each.latents, active.get(name, float(each.latents))) for name, each in features.items()
        ),
        properties=found.properties,
        means=found.means,
        left_out=found.left_out,
        seconds=time.monotonic() - began,
    )


def _encoded(coder: Coder, x: torch.Tensor, job: Job) -> Codes:
    """Return the codes of all rows, encoded in batches."""
    parts = []
    for first in range(0, len(x), _ROWS_AT_ONCE):
        codes = coder.encode(x[first : first + _ROWS_AT_ONCE])
        parts.append(codes._replace(row=codes.row + first))
        job.advance(len(x[first : first + _ROWS_AT_ONCE]))
    return Codes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _marked(tokens: ProbedTokens) -> ProbeDataset:
    return ProbeDataset(tokens.document, tokens.position, tokens.token_id, tokens.labels)
