"""The demo library: dictionaries of the small models in `data/` over the installed documentation. No network needed."""

from itda_core.build import Request, add_maps, build
from itda_core.config import BuildSettings, CorpusSettings, CutSettings, DictionarySettings
from itda_core.corpus import ingest
from itda_core.demo_models import model_folder
from itda_core.jobs import Job
from itda_core.library import Library

TOKENS = 40_000
DICTIONARY = DictionarySettings(l0=20, threshold=0.2)
_FIRST = [("docs-a", (3,))]
_THEN = [("docs-a", (1, 5)), ("docs-b", (1, 3, 5))]


def build_demo(library: Library, job: Job) -> list[str]:
    """Build the demo's dictionaries, one first so that reading can begin, and their maps. Returns their ids."""
    job.stage("reading the installed documentation", None, "documents")
    corpus = ingest(CorpusSettings("docs"), CutSettings(), library.corpora, job.reached)
    ids: list[str] = []
    for name, layers in (*_FIRST, *_THEN):
        request = Request(
            str(model_folder(name)),
            corpus,
            BuildSettings(layers, tokens=TOKENS),
            DICTIONARY,
        )
        ids += build(library, request, job)
    add_maps(library, ids, job)
    return ids
