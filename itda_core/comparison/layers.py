"""Compare all layers of two models."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from itda_core.common.disk_errors import writing
from itda_core.common.errors import UserError
from itda_core.common.files import write_sealed
from itda_core.common.settings import DictionarySettings, LayersSettings
from itda_core.comparison.chance import bootstrap
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.chance import chance
from itda_core.reports.comparison import key_of
from itda_core.reports.layers import DEFAULT, LAYER_MEASURES, VERSION, LayerSimilarity, path_of, read_layers

if TYPE_CHECKING:
    import torch

    from itda_core.capture.layers import LayerActivations


_LEAST_TOKENS = 100  # minimum number of common tokens


def compare_layers(
    library: Library, id_a: str, id_b: str, job: Job, settings: LayersSettings = DEFAULT
) -> LayerSimilarity:
    """Compare all layers of the models of two dictionaries and store the result.

    The layers are compared at the dictionaries' hooks. A stored result is reused.

    Args:
        library: the library of the dictionaries.
        id_a, id_b: ids of the dictionaries, of one corpus.
        job: receives progress.
        settings: tokens and dictionary settings of the comparison.

    Raises:
        UserError: unknown ids, dictionaries of two corpora, a model that is not available, or too few common tokens.
    """
    a, b = library.record(id_a), library.record(id_b)
    key = key_of(a, b)
    found = read_layers(library, a, b, settings)
    if found is not None:
        return found
    from itda_core.capture.layers import common_rows  # imports torch, which reading a stored report does not need

    path = path_of(library, a, b, settings)
    with build_lock(library.root, f"layers-{path.stem[-10:]}"):
        if (found := read_layers(library, a, b, settings)) is not None:  # by a process that held the lock just before
            return found
        sides = [_read(library, record, settings.tokens, job) for record in (a, b)]
        keys = [side.sources if key == "token" else side.ends for side in sides]
        rows = common_rows(*keys)
        if len(rows[0]) < _LEAST_TOKENS:
            raise UserError(f"the two models have {len(rows[0])} tokens in common: compare more of them with --tokens")
        coverage = tuple(len(rows[0]) / len(side.sources) for side in sides)
        shared = keys[0][rows[0]]
        layers = [side.take(row).layers for side, row in zip(sides, rows, strict=True)]
        del sides
        report = _measure(layers, shared, settings, job)
        found = LayerSimilarity(
            a=a.model,
            b=b.model,
            hooks=(a.site.hook, b.site.hook),
            corpus=a.corpus,
            key=key,
            tokens=len(shared),
            coverage=(coverage[0], coverage[1]),
            l0=settings.l0,
            threshold=settings.threshold,
            **report,
        )
        with writing(library.comparisons):
            library.comparisons.mkdir(parents=True, exist_ok=True)
            write_sealed(path, {"version": VERSION, **asdict(found)})
    return found


def _read(library: Library, record: DictionaryManifest, tokens: int, job: Job) -> "LayerActivations":
    from itda_core.capture.layers import capture_layers
    from itda_core.corpus.store import Corpus
    from itda_core.corpus.windows import make_windows
    from itda_core.models.locate import open_model

    job.stage(f"loading {record.model}", None, "tokens")
    model = open_model(record, library.root)
    corpus = Corpus.open(library.corpus_folder(record))
    windows = list(make_windows(corpus.documents(), model.tokenizer, record.cut, tokens))
    job.stage(f"reading with {record.model}", sum(len(window.captured) for window in windows), "tokens")
    return capture_layers(model, windows, record.site.hook, advance=job.advance)


def _measure(
    layers: "Sequence[Sequence[torch.Tensor]]", sources: "torch.Tensor", settings: LayersSettings, job: Job
) -> dict[str, Any]:
    """Compute atom counts, similarities, omissions, cautions and source unions."""
    import torch

    from itda_core.dictionary.builder import DictionaryBuilder
    from itda_core.similarity import cka, jaccard, shared_sources
    from itda_core.similarity import concordance as shared
    from itda_core.similarity.overlap import rows_of
    from itda_core.similarity.registry import ACTIVATION_MEASURES, layer_similarities

    names = {measure.name: measure for measure in ACTIVATION_MEASURES}
    n_sites = sum(map(len, layers))
    job.stage("building dictionaries", n_sites, "layers")
    chosen: list[list[torch.Tensor]] = []
    for side in layers:
        chosen.append([])
        for x in side:
            builder = DictionaryBuilder(DictionarySettings(l0=settings.l0, threshold=settings.threshold))
            try:
                builder.add(x, sources)
            except ValueError as error:  # values that are not finite
                raise UserError(f"layer {len(chosen[-1])} cannot be compared: {error}") from error
            if note := builder.energy.note():
                job.say(f"layer {len(chosen[-1])} of {'AB'[len(chosen) - 1]}: {note}")
            built = builder.finish()
            if len(built) == 0:
                raise UserError(
                    f"no token of layer {len(chosen[-1])} has an error over {settings.threshold:g}: lower --threshold"
                )
            chosen[-1].append(built.sources)
            job.advance(1)
    values: dict[str, tuple[tuple[float, ...], ...]] = {}
    left_out: dict[str, str] = {}
    cautions: dict[str, str] = {}

    def keep(name: str, similarities: np.ndarray) -> None:
        values[name] = tuple(tuple(map(float, row)) for row in similarities)

    keep("jaccard", layer_similarities(jaccard, *chosen))
    every = [each for side in chosen for each in side]
    atoms = torch.from_numpy(rows_of(shared_sources(every), sources))
    for name in [name for name in LAYER_MEASURES if name != "jaccard"]:
        job.stage(LAYER_MEASURES[name], n_sites, "layers")
        try:
            prepared: list[list[Any]] = []
            for side in layers:
                prepared.append([])
                for x in side:
                    made = names[name].prepare(x) if name in names else shared.prepare(x, atoms)
                    prepared[-1].append(made)
                    job.advance(1)
            keep(name, layer_similarities(names[name].compare if name in names else shared.compare, *prepared))
            if name == "linear_cka" and (caution := cka.caution(*prepared)):
                cautions[name] = caution
        except ValueError as error:  # too few tokens, or a zero or constant activation: the message has the reason
            left_out[name] = str(error)
    return {
        "atoms": tuple(tuple(len(each) for each in side) for side in chosen),
        "values": values,
        "left_out": left_out,
        "cautions": cautions,
        **_union(chosen[0], chosen[1], sources.numpy()),
    }


def _union(a: "Sequence[torch.Tensor]", b: "Sequence[torch.Tensor]", keys: np.ndarray) -> dict[str, Any]:
    """Compare two models as a whole by the union of their layers' sources.

    `keys` [n, 2] are the tokens that both models read.
    """
    from itda_core.common.keys import sources_of
    from itda_core.similarity.overlap import overlap, union_keys

    all_a, all_b = union_keys(a), union_keys(b)
    names = np.unique(keys[:, 0])
    parts = {
        "both": np.intersect1d(all_a, all_b, assume_unique=True),
        "a": np.setdiff1d(all_a, all_b, assume_unique=True),
        "b": np.setdiff1d(all_b, all_a, assume_unique=True),
    }
    documents = pd.DataFrame(
        {
            part: np.bincount(np.searchsorted(names, sources_of(chosen)[:, 0]), minlength=len(names))
            for part, chosen in parts.items()
        }
    )
    candidates = pd.DataFrame({"n": [len(keys)], "a": [len(all_a)], "b": [len(all_b)]})
    return {
        "union": overlap(all_a, all_b),
        "union_interval": bootstrap(documents),
        "union_chance": chance(candidates, len(all_a), len(all_b)),
        "union_sources": (len(all_a), len(all_b)),
    }
