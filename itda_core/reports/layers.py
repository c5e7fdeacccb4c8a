"""The stored layer similarity of two models; untrusted when read."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from itda_core.common.bootstrap import Interval
from itda_core.common.errors import DamagedError
from itda_core.common.files import is_file, read_json, slug
from itda_core.common.settings import LayersSettings
from itda_core.common.validate import check_format, number, plain_text, share, whole
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest

LAYER_MEASURES = {
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
BENCHED = LAYER_MEASURES | {"error_correlation": "ITDA: correlation of errors", "transplant": "ITDA: transplanting"}
"""Those that `itda bench layers` holds against each other, likewise."""
OLD_REPORT = (
    "not measured, since the report was made before there was this measure; delete it from comparisons/ to measure anew"
)
"""What is said of measures that a report says nothing of."""
REPORTS = "layers--*.json"
"""Which files in comparisons/ are reports on layers."""
DEFAULT = LayersSettings()
"""What layers are compared on unless something else is asked for."""
VERSION = 2  # of what is measured: a report by an earlier version has another name
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
        return [name for name in LAYER_MEASURES if name not in self.values and name not in self.left_out]

    @classmethod
    def parse(cls, said: Any) -> "LayerSimilarity":
        """Read what may come from a stranger's library. Raises DamagedError, or NewerError for a later version."""
        if isinstance(said, dict):
            check_format(said.get("version", VERSION), VERSION, "a report on layers", _REMEDY)
        try:
            atoms = tuple(tuple(map(whole, side)) for side in said["atoms"])
            shape = tuple(map(len, atoms))
            values = {name: _matrix(rows, shape) for name, rows in said["values"].items() if name in LAYER_MEASURES}
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
                left_out={name: plain_text(why) for name, why in said["left_out"].items() if name in LAYER_MEASURES},
                cautions={
                    name: plain_text(why) for name, why in said.get("cautions", {}).items() if name in LAYER_MEASURES
                },
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            raise DamagedError(f"a report on layers is damaged ({error}): {_REMEDY}") from error


def path_of(library: Library, a: DictionaryManifest, b: DictionaryManifest, settings: LayersSettings) -> Path:
    """Where the report on the models of two dictionaries lies, or would."""
    identity = [VERSION, asdict(settings)]
    for each in (a, b):
        identity += [each.weights_sha256, each.tokenizer_sha256, each.site.hook, each.corpus, asdict(each.cut)]
    digest = hashlib.sha256("\n".join(map(str, identity)).encode()).hexdigest()[:10]
    return library.comparisons / f"layers--{slug(a.model)}--{slug(b.model)}-{digest}.json"


def read_layers(
    library: Library, a: DictionaryManifest, b: DictionaryManifest, settings: LayersSettings = DEFAULT
) -> LayerSimilarity | None:
    """The report on the models of two dictionaries, None while there is none. Raises DamagedError."""
    path = path_of(library, a, b, settings)
    return LayerSimilarity.parse(read_json(path)) if is_file(path) else None


def _matrix(rows: Any, shape: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    found = tuple(tuple(map(number, row)) for row in rows)
    if (len(found), {len(row) for row in found}) != (shape[0], {shape[1]}):
        raise ValueError("a matrix of another shape than the models have")
    return found
