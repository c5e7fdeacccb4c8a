"""How alike the layers of two models are: every layer of one against every layer of the other, by every measure.

Both models read the same corpus, and what is compared are the tokens that both have: with one tokenizer the same
document and position, with two the tokens that end at the same character. A job measures it, once, and keeps it as
`comparisons/layers--<A>--<B>-<hash>.json`. Reading it needs no torch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from itda_core.comparison import bootstrap, chance, key_of
from itda_core.config import DictionarySettings, LayersSettings
from itda_core.disk_errors import writing
from itda_core.files import is_file, read_json, slug, write_sealed
from itda_core.jobs import Job, build_lock
from itda_core.library import DictionaryRecord, Library
from itda_core.parsing import check_format, number, plain_text, share, whole
from itda_core.resampling import Interval
from itda_core.types import DamagedError, UserError

if TYPE_CHECKING:
    import torch

    from itda_core.layer_activations import LayerActivations

MEASURES = {
    "jaccard": "ITDA: Jaccard of sources",
    "shared_concordance": "ITDA: concordance over shared sources",
    "mutual_knn": "Mutual 10-nearest neighbours",
    "relative_representation": "Relative representation",
    "linear_cka": "Linear CKA",
    "linear_cka_debiased": "Linear CKA, debiased",
    "svcca": "SVCCA, 99 % of the variance",
    "svcca_directions": "SVCCA, 20 directions",
    "linear_regression": "Linear regression",
}
"""Measures by their name in `itda_core.similarity` (and what is not its default) → their name for people; those on
dictionaries first. A report of before there was one of them lacks it."""
BENCHED = MEASURES | {"error_correlation": "ITDA: correlation of errors", "transplant": "ITDA: transplanting"}
"""Those that `itda bench layers` holds against each other, likewise."""
CHOSEN_ON = ("docs-a", "docs-b")
"""The models that the form of the concordance was chosen on: what it does on others is its test."""
PAPER_ACCURACY = {
    "linear_regression": (0.16, 0.07),
    "svcca_directions": (0.50, 0.44),
    "linear_cka": (0.69, 0.61),
    "relative_representation": (0.87, 0.78),
    "jaccard": (0.88, 0.89),
}
"""Layer-matching accuracy on five seeds each of GPT-2 small and medium: the ITDA paper, Table 1. Its SVCCA takes 20
directions of every layer, as its published code does."""
PAPER_UNION = {"same": (0.56, 0.59), "different": (0.46, 0.47)}
"""Union IoU of two of those models, lowest and highest, of one architecture and of two: the ITDA paper, §5.2."""
OLD_REPORT = (
    "not measured, since the report was made before there was this measure; delete it from comparisons/ to measure anew"
)
"""What is said of measures that a report says nothing of."""
REPORTS = "layers--*.json"
"""Which files in comparisons/ are reports on layers."""
DEFAULT = LayersSettings()
"""What layers are compared on unless something else is asked for."""
_LEAST_TOKENS = 100  # in common
_VERSION = 2  # of what is measured: a report by an earlier version has another name
_REMEDY = "delete its file in comparisons/"


@dataclass(frozen=True)
class LayerSimilarity:
    """What is known of the layers of two models. Lists of lists are [layers of A][layers of B]."""

    a: str
    """Name of the one on the left."""
    b: str
    """Name of the one on the right."""
    hooks: tuple[str, str]
    """The place in the blocks, of each."""
    corpus: str
    """Id of the corpus that both read."""
    key: str
    """What makes tokens the same: `token` (document and position) or `characters` (where in the text it ends)."""
    tokens: int
    """Tokens that are compared."""
    coverage: tuple[float, float]
    """Share of the tokens that each read which the other has too."""
    l0: int
    """Pursuit steps of the dictionaries."""
    threshold: float
    """Relative error above which a token became an atom."""
    atoms: tuple[tuple[int, ...], tuple[int, ...]]
    """Atoms of each layer's dictionary, of each model."""
    union: float
    """Jaccard of the sources of all layers together (the paper, §5.2)."""
    union_interval: Interval
    """95 % bootstrap interval of `union` over documents."""
    union_chance: float
    """The union to expect if each model had chosen as many sources blindly among the tokens compared."""
    union_sources: tuple[int, int]
    """Distinct sources of all layers together, of each model."""
    values: Mapping[str, tuple[tuple[float, ...], ...]]
    """By measure; larger is more alike."""
    left_out: Mapping[str, str]
    """By measure: why it has no values."""
    cautions: Mapping[str, str] = field(default_factory=dict)
    """By measure: what is to be borne in mind about its values."""

    @property
    def unmeasured(self) -> list[str]:
        """Measures that the report says nothing of, since it was made before there were such."""
        return [name for name in MEASURES if name not in self.values and name not in self.left_out]

    @classmethod
    def parse(cls, said: Any) -> "LayerSimilarity":
        """Read what may come from a stranger's library. Raises DamagedError, or NewerError for a later version."""
        if isinstance(said, dict):
            check_format(said.get("version", _VERSION), _VERSION, "a report on layers", _REMEDY)
        try:
            atoms = tuple(tuple(map(whole, side)) for side in said["atoms"])
            shape = tuple(map(len, atoms))
            values = {name: _matrix(rows, shape) for name, rows in said["values"].items() if name in MEASURES}
            if not values or len(shape) != 2 or said["key"] not in ("token", "characters"):
                raise ValueError("it says nothing of two models")
            (hook_a, hook_b), (coverage_a, coverage_b) = said["hooks"], said["coverage"]
            (low, high), (sources_a, sources_b) = said["union_interval"], said["union_sources"]
            return cls(
                a=plain_text(said["a"]),
                b=plain_text(said["b"]),
                hooks=(plain_text(hook_a), plain_text(hook_b)),
                corpus=plain_text(said["corpus"]),
                key=said["key"],
                tokens=whole(said["tokens"]),
                coverage=(share(coverage_a), share(coverage_b)),
                l0=whole(said["l0"], 1),
                threshold=number(said["threshold"]),
                atoms=(atoms[0], atoms[1]),
                union=share(said["union"]),
                union_interval=Interval(share(low), share(high)),
                union_chance=share(said["union_chance"]),
                union_sources=(whole(sources_a), whole(sources_b)),
                values=values,
                left_out={name: plain_text(why) for name, why in said["left_out"].items() if name in MEASURES},
                cautions={name: plain_text(why) for name, why in said.get("cautions", {}).items() if name in MEASURES},
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            raise DamagedError(f"a report on layers is damaged ({error}): {_REMEDY}") from error


def path_of(library: Library, a: DictionaryRecord, b: DictionaryRecord, settings: LayersSettings) -> Path:
    """Where the report on the models of two dictionaries lies, or would."""
    identity = [_VERSION, asdict(settings)]
    for each in (a, b):
        identity += [each.weights_sha256, each.tokenizer_sha256, each.site.hook, each.corpus, asdict(each.cut)]
    digest = hashlib.sha256("\n".join(map(str, identity)).encode()).hexdigest()[:10]
    return library.comparisons / f"layers--{slug(a.model)}--{slug(b.model)}-{digest}.json"


def read_layers(
    library: Library, a: DictionaryRecord, b: DictionaryRecord, settings: LayersSettings = DEFAULT
) -> LayerSimilarity | None:
    """The report on the models of two dictionaries, None while there is none. Raises DamagedError."""
    path = path_of(library, a, b, settings)
    return LayerSimilarity.parse(read_json(path)) if is_file(path) else None


def compare_layers(
    library: Library, id_a: str, id_b: str, job: Job, settings: LayersSettings = DEFAULT
) -> LayerSimilarity:
    """Compare all layers of the models of two dictionaries, at their place in the blocks, and keep what was found.

    Args:
        library: where the dictionaries are.
        id_a, id_b: the dictionaries, of one corpus.
        job: told how far it is.
        settings: on what.

    Raises:
        UserError: unknown ids, dictionaries of two corpora, a model that is not here, or too few tokens in common.
    """
    a, b = library.record(id_a), library.record(id_b)
    key = key_of(a, b)
    found = read_layers(library, a, b, settings)
    if found is not None:
        return found
    from itda_core.layer_activations import common_rows  # with torch, which reading a report does without

    path = path_of(library, a, b, settings)
    with build_lock(library.root, f"layers-{path.stem[-10:]}"):
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
            write_sealed(path, {"version": _VERSION, **asdict(found)})
    return found


def _read(library: Library, record: DictionaryRecord, tokens: int, job: Job) -> "LayerActivations":
    from itda_core.corpus import Corpus
    from itda_core.decompose import open_model
    from itda_core.layer_activations import capture_layers
    from itda_core.windows import cut

    job.stage(f"loading {record.model}", None, "tokens")
    model = open_model(record, library.root)
    corpus = Corpus.open(library.corpus_folder(record))
    windows = list(cut(corpus.documents(), model.tokenizer, record.cut, tokens))
    job.stage(f"reading with {record.model}", sum(len(window.captured) for window in windows), "tokens")
    return capture_layers(model, windows, record.site.hook, advance=job.advance)


def _measure(
    layers: "Sequence[Sequence[torch.Tensor]]", sources: "torch.Tensor", settings: LayersSettings, job: Job
) -> dict[str, Any]:
    """Atoms, values, what is left out, and the union, of activations per model and layer."""
    import torch

    from itda_core.builder import DictionaryBuilder
    from itda_core.similarity import alignment, jaccard, shared, shared_sources
    from itda_core.similarity.measures import ACTIVATION_MEASURES, layer_similarities
    from itda_core.similarity.sources import rows_of

    names = {measure.name: measure for measure in ACTIVATION_MEASURES}
    n_sites = sum(map(len, layers))
    job.stage("building dictionaries", n_sites, "layers")
    chosen: list[list[torch.Tensor]] = []
    for side in layers:
        chosen.append([])
        for x in side:
            builder = DictionaryBuilder(DictionarySettings(settings.l0, settings.threshold))
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
    for name in [name for name in MEASURES if name != "jaccard"]:
        job.stage(MEASURES[name], n_sites, "layers")
        try:
            prepared: list[list[Any]] = []
            for side in layers:
                prepared.append([])
                for x in side:
                    made = names[name].prepare(x) if name in names else shared.prepare(x, atoms)
                    prepared[-1].append(made)
                    job.advance(1)
            keep(name, layer_similarities(names[name].compare if name in names else shared.compare, *prepared))
            if name == "linear_cka" and (caution := alignment.caution(*prepared)):
                cautions[name] = caution
        except ValueError as error:  # too few tokens, a zero or constant activation: the line says which
            left_out[name] = str(error)
    return {
        "atoms": tuple(tuple(len(each) for each in side) for side in chosen),
        "values": values,
        "left_out": left_out,
        "cautions": cautions,
        **_union(chosen[0], chosen[1], sources.numpy()),
    }


def _union(a: "Sequence[torch.Tensor]", b: "Sequence[torch.Tensor]", keys: np.ndarray) -> dict[str, Any]:
    """How alike two models are as wholes, of the sources of their layers and the tokens [n, 2] that both read."""
    from itda_core.similarity.sources import overlap, sources_of, union_keys

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


def _matrix(rows: Any, shape: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    found = tuple(tuple(map(number, row)) for row in rows)
    if (len(found), {len(row) for row in found}) != (shape[0], {shape[1]}):
        raise ValueError("a matrix of another shape than the models have")
    return found
