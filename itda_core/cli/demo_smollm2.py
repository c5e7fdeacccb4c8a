"""Build a library of SmolLM2, a pretrained model, over the installed documentation; no network."""

from itda_core.build.build import Request, add_maps, build
from itda_core.common.settings import BuildSettings, CorpusSettings, DictionarySettings, WindowSettings
from itda_core.corpus.store import ingest
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.models.smollm2 import require_smollm2

CORPUS = CorpusSettings("docs")
TOKENS = 20_000
DICTIONARY = DictionarySettings(l0=20, n_atoms=2_000, center="mean", max_norm=5)
_LAYERS = (10, 20)


def build_smollm2(library: Library, job: Job) -> list[str]:
    """Build dictionaries of two middle layers of SmolLM2, one first so that reading can begin, and their maps.

    Returns:
        Ids of the dictionaries.

    Raises:
        UserError: the package with the model is not installed, or the library or the cache cannot be written.
    """
    model = require_smollm2()
    job.stage("reading the installed documentation", None, "documents")
    corpus = ingest(CORPUS, WindowSettings(), library.corpora, job.reached)
    ids: list[str] = []
    for layer in _LAYERS:
        ids += build(library, Request(str(model), corpus, BuildSettings((layer,), tokens=TOKENS), DICTIONARY), job)
    add_maps(library, ids, job)
    return ids
