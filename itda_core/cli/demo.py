"""Build the demo library, with no network.

It has dictionaries of the small models in `data/` over the installed documentation, comparisons of them, and a quality
report on the first one.
"""

from itda_core.build.build import Request, add_maps, build
from itda_core.common.errors import PlaceError, UserError
from itda_core.common.settings import BuildSettings, CorpusSettings, DictionarySettings, WindowSettings
from itda_core.comparison.compare import compare
from itda_core.corpus.store import ingest
from itda_core.evaluation.evaluate import measure
from itda_core.jobs.job import Job
from itda_core.library.library import Library
from itda_core.models.bundled import demo_models, model_folder

CORPUS = CorpusSettings("docs")
TOKENS = 40_000
DICTIONARY = DictionarySettings(l0=20, threshold=0.2)
_COMPARED = 3  # the layer of the first model, and that of each other model that it is compared with
_FIRST = ("docs-a", (_COMPARED,))
_THEN = (("docs-a", (1, 5)), ("docs-b", (1, _COMPARED, 5)), ("code-a", (_COMPARED,)), ("docs-c", (_COMPARED,)))


def build_demo(library: Library, job: Job) -> list[str]:
    """Build the demo's dictionaries, one first so that reading can begin, compare the models, and add the maps.

    Only the first model has to lie in `data/`: without the others, as in an older clone, the rest is built. Models that
    cannot be compared are reported and skipped.

    Returns:
        Ids of the dictionaries.

    Raises:
        UserError: the first model is not here, or the library cannot be written.
    """
    job.stage("reading the installed documentation", None, "documents")
    corpus = ingest(CORPUS, WindowSettings(), library.corpora, job.reached)

    def built(name: str, layers: tuple[int, ...]) -> list[str]:
        request = Request(str(model_folder(name)), corpus, BuildSettings(layers, tokens=TOKENS), DICTIONARY)
        return build(library, request, job)

    here = demo_models()
    (first,) = built(*_FIRST)
    ids, others = [first], []
    for name, layers in _THEN:
        if name in here:
            found = built(name, layers)
            ids += found
            if _COMPARED in layers:
                others.append(found[layers.index(_COMPARED)])
    for other in others:  # before the maps, which take longer, and which no page waits for
        try:
            compare(library, first, other, job)
        except PlaceError:  # nothing else could be written either
            raise
        except UserError as error:  # damaged, or under way in another process: all else of the demo can still be read
            job.say(f"{first} and {other} are not compared: {error}")
    try:
        measure(library, first, job)
    except PlaceError:
        raise
    except UserError as error:
        job.say(f"{first} is not measured: {error}")
    add_maps(library, ids, job)
    return ids
