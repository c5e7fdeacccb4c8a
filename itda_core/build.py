"""From a model and a corpus to whole dictionaries in a library: which ones, under which ids, and their maps."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from itda_core.config import BuildSettings, DictionarySettings
from itda_core.corpus import Corpus
from itda_core.files import read_json, slug, write_hash
from itda_core.jobs import Job, build_lock
from itda_core.layout import MANIFEST_FILE
from itda_core.library import DictionaryRecord, Library
from itda_core.maps import SMALLEST_MAP, compute_map
from itda_core.models import load_model, load_outline
from itda_core.pipeline import Pipeline, Plan, place_finished, versions
from itda_core.shards import RecordedActivations
from itda_core.types import Site, UserError
from itda_core.windows import check_documents

_CAPTURED = (
    "model",
    "revision",
    "weights_sha256",
    "tokenizer_sha256",
    "dtype",
    "corpus",
    "cut",
    "tokens",
    "batch_windows",
    "half_precision",
)
"""What of a dictionary's manifest says which activations it is from."""


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
    ids = {site: f"{slug(model.name)}-l{site.layer}-{site.hook}-{_short_hash(identity, [site])}" for site in sites}
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
                activations = f"{corpus.id}-{_short_hash(captured | made_by, sorted(sites))}"
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


def kept_activations(library: Library, record: DictionaryRecord) -> Path | None:
    """The folder where the activations that a dictionary was built from are kept; None where they are not.

    The dictionary's manifest names it. Older ones do not; but a folder's name is a hash of what its activations are
    from, so those of another model are never taken for them. Damaged folders of others are passed over.

    Raises DamagedError for the folder that is named, or where nothing is, for one that may have been it.
    """
    manifest = read_json(library.folder(record.id) / MANIFEST_FILE)
    if not library.activations.is_dir() or not manifest.get("half_precision"):
        return None
    named = manifest.get("activations")
    captured = {name: manifest.get(name) for name in _CAPTURED}
    made_by = [{}, *({"device": device, "versions": manifest.get("versions")} for device in ("cpu", "cuda", "mps"))]
    damaged = None
    corpus = library.corpus_folder(record).name  # which has no letter that a pattern reads
    for folder in sorted(library.activations.glob(f"{corpus}-*/{MANIFEST_FILE}")):
        name = folder.parent.name
        try:
            sites = RecordedActivations(folder.parent).sites
        except UserError as error:
            damaged = error if named in (None, name) else damaged
            continue
        names = [f"{corpus}-{_short_hash(captured | each, sites)}" for each in made_by]
        if record.site in sites and name in ([named] if named else names):
            return folder.parent
    if damaged is not None:
        raise damaged
    return None


def _short_hash(identity: dict, sites: list[Site]) -> str:
    text = json.dumps([identity, [[site.layer, site.hook] for site in sites]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _is_whole(library: Library, dictionary_id: str) -> bool:
    return dictionary_id in library.ids() and not any(library.verify(dictionary_id))
