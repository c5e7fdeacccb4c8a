"""Build dictionaries of a model over a corpus."""

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from itda_core.build.pipeline import Pipeline, Plan
from itda_core.build.projection import SMALLEST_MAP, compute_map
from itda_core.capture.replay import hash_of_sites
from itda_core.common.errors import UserError
from itda_core.common.files import slug, write_hash
from itda_core.common.settings import BuildSettings, DictionarySettings
from itda_core.common.types import Site
from itda_core.common.versions import versions
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import check_documents
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.staging import place_finished
from itda_core.models.model import load_model, load_outline


@dataclass(frozen=True)
class Request:
    """A build request: model, corpus, sites and settings."""

    model: str
    """Folder in Hugging Face format, GGUF file, or a model id on the Hub."""
    corpus: Corpus
    """Corpus of texts and its window settings."""
    build: BuildSettings
    """Sites and tokens to capture."""
    dictionary: DictionarySettings
    """Dictionary-building settings, the same for every site."""
    revision: str | None = None
    """Revision of the model on the Hub."""
    device: str | None = None
    """Device that the model runs on; None selects CUDA if available."""
    dtype: str = "float32"
    """Data type of the model's computation."""
    remote: bool = False
    """Whether the model runs on NDIF, which chooses device and dtype."""


def build(library: Library, request: Request, job: Job, others: Sequence[DictionarySettings] = ()) -> list[str]:
    """Build the dictionaries of a request and return their ids.

    The ids include those of dictionaries that were already complete. With `others`, further settings, there is one
    dictionary for each site and settings, all from one reading of the texts.

    Each dictionary is written to a staging folder beside its final place and renamed into it once complete. The model
    runs once over the corpus if its activations have room on the disk until the run ends; otherwise it runs again to
    encode with the finished atoms, and before that for the mean if there is centring. Partial output of an interrupted
    run of the same request is resumed, and gives the same dictionaries.

    Raises:
        UserError: any part of the request cannot be carried out.
    """
    corpus = request.corpus
    wanted = list(dict.fromkeys(map(_without_threshold, [request.dictionary, *others])))
    for each in wanted:
        each.check_scan()
    job.stage(f"loading {request.model}")
    model = (
        load_outline(request.model, request.revision)
        if request.remote
        else load_model(request.model, request.revision, request.device, request.dtype, job.say)
    )
    sites = [Site(layer, hook) for layer in request.build.layers for hook in request.build.hooks]
    for site in sites:
        model.module(site)
    if request.build.holdout:  # before the model's weights are hashed and the corpus is read
        check_documents(corpus.n_documents, corpus.settings.documents)
    model.must_read(corpus.cut.context)
    kept = request.build.keep_activations or request.remote
    captured = {
        "model": model.name,
        "revision": model.revision,
        "weights_sha256": model.weights_sha256(),
        "tokenizer_sha256": model.tokenizer_sha256(),
        "dtype": "remote" if request.remote else request.dtype,
        "corpus": corpus.id,
        "cut": asdict(corpus.cut),
        "tokens": request.build.tokens,
        "batch_windows": request.build.batch_windows,
        "half_precision": kept,  # kept activations are stored in float16
    }
    identities = [_identity(captured, request.build.holdout, each) for each in wanted]
    ids = [
        {site: f"{slug(model.name)}-l{site.layer}-{site.hook}-{hash_of_sites(identity, [site])}" for site in sites}
        for identity in identities
    ]
    all_ids = list(dict.fromkeys(dictionary_id for each in ids for dictionary_id in each.values()))
    with ExitStack() as locks:
        for dictionary_id in sorted(all_ids):
            locks.enter_context(build_lock(library.root, dictionary_id))
        for dictionary_id in all_ids:
            place_finished(library, dictionary_id)
        # Its lock is that of a dictionary of the request.
        scratch = library.dictionaries / f".{min(all_ids)}.scratch"
        missing = [{site: i for site, i in each.items() if not _is_whole(library, i)} for each in ids]
        if any(missing):
            activations = None
            if kept:
                # All sites of the request, not only the missing ones, so that activations kept by an earlier
                # run, when fewer dictionaries were complete, can be reused.
                made_by = {} if request.remote else {"device": model.device, "versions": versions()}
                activations = f"{corpus.id}-{hash_of_sites(captured | made_by, sorted(sites))}"
                locks.enter_context(build_lock(library.root, activations))
            taken = sorted(sites) if kept else sorted({site for each in missing for site in each})
            started = time.perf_counter()
            try:
                for number, (settings, identity, own) in enumerate(zip(wanted, identities, missing, strict=True), 1):
                    if own:
                        if len(wanted) > 1:
                            job.say(f"settings {number} of {len(wanted)}: {_differing(settings, wanted)}")
                        plan = Plan(
                            ids=own,
                            sites=taken,
                            captured=captured,
                            identity=identity,
                            build=request.build,
                            dictionary=settings,
                            scratch=scratch,
                            activations=activations,
                            remote=request.remote,
                        )
                        Pipeline(library, corpus, model, plan, job, started).run()
            except UserError:  # which the same run would meet again; after a kill the activations are used again
                shutil.rmtree(scratch, ignore_errors=True)
                raise
        for dictionary_id in all_ids:  # of this request, and of interrupted ones that began with others of its ids
            shutil.rmtree(library.dictionaries / f".{dictionary_id}.scratch", ignore_errors=True)
    return all_ids


def _identity(captured: dict, holdout: bool, settings: DictionarySettings) -> dict:
    """Return the inputs and settings that identify the dictionaries of one run."""
    identity = {**captured, "holdout": holdout, "settings": settings.described()}
    return identity if settings.n_atoms is None else identity | {"wanted_atoms": settings.n_atoms}


def _without_threshold(settings: DictionarySettings) -> DictionarySettings:
    """Return settings with the default threshold if it is found from the number of atoms."""
    return settings if settings.n_atoms is None else replace(settings, threshold=DictionarySettings.threshold)


def _differing(settings: DictionarySettings, among: Sequence[DictionarySettings]) -> str:
    """Return the settings by which one of several differs from the others, as text."""
    every = [asdict(each) for each in among]
    names = [name for name in every[0] if len({each[name] for each in every}) > 1]
    return ", ".join(f"{name} {getattr(settings, name)}" for name in names)


def add_maps(library: Library, ids: Sequence[str], job: Job) -> None:
    """Compute the maps that are missing.

    Dictionaries with too few atoms get no map.
    """
    for dictionary_id in ids:
        path = library.map_path(dictionary_id)
        if not path.is_file() and library.record(dictionary_id).n_atoms >= SMALLEST_MAP:
            job.stage(f"mapping {dictionary_id}", 1, "maps")
            compute_map(library.folder(dictionary_id), path)
            write_hash(path)
            job.advance(1)


def _is_whole(library: Library, dictionary_id: str) -> bool:
    return dictionary_id in library.ids() and not any(library.verify(dictionary_id))
