"""The demo library: dictionaries of the small models in `data/` over the installed documentation. No network needed."""

from pathlib import Path

from itda_core.build import Request, add_maps, build
from itda_core.config import BuildSettings, CorpusSettings, CutSettings, DictionarySettings
from itda_core.corpus import ingest
from itda_core.jobs import Job
from itda_core.library import Library
from itda_core.types import UserError

TOKENS = 40_000
DICTIONARY = DictionarySettings(l0=20, threshold=0.2)
_FIRST = [("docs-a", (3,))]
_THEN = [("docs-a", (1, 5)), ("docs-b", (1, 3, 5))]


def model_folder(name: str) -> Path:
    """Folder of a model that comes with the project. Raises UserError where it does not lie beside the package."""
    folder = Path(__file__).parent.parent / "data" / name
    if not (folder / "config.json").is_file():
        raise UserError(f"the demo model {name} is not here: install the project from a clone, with pip install -e .")
    return folder


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
