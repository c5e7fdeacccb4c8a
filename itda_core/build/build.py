"""Build dictionaries of a model over a corpus: the job."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from itda_core.build.pipeline import Pipeline, Plan
from itda_core.build.projection import SMALLEST_MAP, compute_map
from itda_core.common.files import short_hash, slug, write_hash
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
    remote: bool = False
    """Whether the model runs on NDIF, which chooses device and dtype."""


def build(library: Library, request: Request, job: Job) -> list[str]:
    """Build the dictionaries of a request and return their ids, those that were whole already included.

    Each is written beside its place and renamed into it once whole. The model runs twice over the corpus, once to build
    and once to encode with the finished atoms, unless the activations are kept on disk, as those of a remote model are.
    What an earlier run of the same request left when it was killed is gone on with, to the same dictionaries.

    Raises:
        UserError: anything of the request that cannot be done.
    """
    request.dictionary.check_scan()
    corpus = request.corpus
    job.stage(f"loading {request.model}")
    model = (
        load_outline(request.model, request.revision)
        if request.remote
        else load_model(request.model, request.revision, request.device, request.dtype)
    )
    sites = [Site(layer, hook) for layer in request.build.layers for hook in request.build.hooks]
    for site in sites:
        model.module(site)
    if request.build.holdout:  # before the model's weights are hashed and its text read
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
        "half_precision": kept,  # what is kept is kept in float16
    }
    identity = {**captured, "holdout": request.build.holdout, "settings": request.dictionary.described()}
    ids = {site: f"{slug(model.name)}-l{site.layer}-{site.hook}-{short_hash(identity, [site])}" for site in sites}
    with ExitStack() as locks:
        for dictionary_id in ids.values():
            locks.enter_context(build_lock(library.root, dictionary_id))
        for dictionary_id in ids.values():
            place_finished(library, dictionary_id)
        missing = {site: ids[site] for site in sites if not _is_whole(library, ids[site])}
        if missing:
            activations = None
            if kept:
                # All sites, whichever are missing: what was kept before some of them were whole serves the others.
                made_by = {} if request.remote else {"device": model.device, "versions": versions()}
                activations = f"{corpus.id}-{short_hash(captured | made_by, sorted(sites))}"
                locks.enter_context(build_lock(library.root, activations))
            plan = Plan(
                missing, sorted(sites), identity, request.build, request.dictionary, activations, request.remote
            )
            Pipeline(library, corpus, model, plan, job).run()
    return list(ids.values())


def add_maps(library: Library, ids: Sequence[str], job: Job) -> None:
    """Compute the maps that are missing; a dictionary too small for one goes without."""
    for dictionary_id in ids:
        path = library.map_path(dictionary_id)
        if not path.is_file() and library.record(dictionary_id).n_atoms >= SMALLEST_MAP:
            job.stage(f"mapping {dictionary_id}", 1, "maps")
            compute_map(library.folder(dictionary_id), path)
            write_hash(path)
            job.advance(1)


def _is_whole(library: Library, dictionary_id: str) -> bool:
    return dictionary_id in library.ids() and not any(library.verify(dictionary_id))
