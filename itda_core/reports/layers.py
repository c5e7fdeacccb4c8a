"""Stored layer similarity of two models; untrusted when read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from itda_core.common.files import is_file, read_json, short_hash, slug
from itda_core.common.settings import LayersSettings
from itda_core.common.validate import Count, Finite, Positive, Share, check_format, damaged, only, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.comparison import Key, ShareInterval

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
"""Name of a measure in `itda_core.similarity` (with any parameter that is not the default) → displayed name; measures
on dictionaries first. A report that is older than a measure does not contain it."""
BENCHED = LAYER_MEASURES | {"error_correlation": "ITDA: correlation of errors", "transplant": "ITDA: transplanting"}
"""Measures that `itda bench layers` compares, in the same form."""
OLD_REPORT = (
    "not measured, since the report was made before there was this measure; delete it from comparisons/ to measure anew"
)
"""Message for measures that a report does not contain."""
REPORTS = "layers--*.json"
"""Pattern of the files in comparisons/ that are reports on layers."""
DEFAULT = LayersSettings()
"""Default settings for the comparison of layers."""
VERSION = 2  # of the measured values: a report of an earlier version has another file name
_REMEDY = "delete its file in comparisons/"


@dataclass(frozen=True)
class LayerSimilarity:
    """Similarity of the layers of two models.

    Nested tuples are indexed [layer of A][layer of B].
    """

    a: str
    """Name of the model on the left."""
    b: str
    """Name of the model on the right."""
    hooks: tuple[str, str]
    """Position within the blocks at which activations are captured, for each model."""
    corpus: str
    """Id of the corpus that both read."""
    key: Key
    """Criterion for equal tokens: `token` (document and position) or `characters` (document and end in the text)."""
    tokens: Count
    """Number of tokens that are compared."""
    coverage: tuple[Share, Share]
    """For each model, the share of the tokens it read that the other also read."""
    l0: Positive
    """Pursuit steps of the dictionaries."""
    threshold: Finite
    """Relative error above which a token became an atom."""
    atoms: tuple[tuple[Count, ...], tuple[Count, ...]]
    """Number of atoms of each layer's dictionary, for each model."""
    union: Share
    """Jaccard similarity of the sources of all layers together (ITDA paper, §5.2)."""
    union_interval: ShareInterval
    """95 % bootstrap interval of `union` over documents."""
    union_chance: Share
    """Expected `union` if each model had chosen as many sources at random among the compared tokens."""
    union_sources: tuple[Count, Count]
    """Number of distinct sources of all layers together, for each model."""
    values: Annotated[Mapping[str, tuple[tuple[Finite, ...], ...]], only(LAYER_MEASURES)]
    """Matrix of similarities, by measure; a larger value is more similar."""
    left_out: Annotated[Mapping[str, str], only(LAYER_MEASURES)]
    """Reason for missing values, by measure."""
    cautions: Annotated[Mapping[str, str], only(LAYER_MEASURES)] = field(default_factory=dict)
    """Caution about the values, by measure."""

    @property
    def unmeasured(self) -> list[str]:
        """Measures that the report does not contain, since it is older than them."""
        return [name for name in LAYER_MEASURES if name not in self.values and name not in self.left_out]

    @classmethod
    def parse(cls, raw: Any) -> "LayerSimilarity":
        """Parse a report, which may be untrusted.

        Raises DamagedError, or NewerError for a later version.
        """
        subject = "a report on layers"
        if isinstance(raw, dict):
            check_format(raw.get("version", VERSION), VERSION, subject, _REMEDY)
        found = parse(cls, raw, subject, _REMEDY)
        shape = tuple(map(len, found.atoms))
        if not found.values:
            raise damaged(subject, "it has no values of a known measure", _REMEDY)
        for rows in found.values.values():
            if (len(rows), {len(row) for row in rows}) != (shape[0], {shape[1]}):
                raise damaged(subject, "a matrix has another shape than the models", _REMEDY)
        return found


def path_of(library: Library, a: DictionaryManifest, b: DictionaryManifest, settings: LayersSettings) -> Path:
    """Return the path of the report on the models of two dictionaries.

    The report may not exist.
    """
    identity = [VERSION, asdict(settings)]
    for each in (a, b):
        identity += [each.weights_sha256, each.tokenizer_sha256, each.site.hook, each.corpus, asdict(each.cut)]
    digest = short_hash("\n".join(map(str, identity)))
    return library.comparisons / f"layers--{slug(a.model)}--{slug(b.model)}-{digest}.json"


def read_layers(
    library: Library, a: DictionaryManifest, b: DictionaryManifest, settings: LayersSettings = DEFAULT
) -> LayerSimilarity | None:
    """Return the report on the models of two dictionaries, or None if there is none.

    Raises DamagedError, or NewerError for one of a later version.
    """
    path = path_of(library, a, b, settings)
    return LayerSimilarity.parse(read_json(path)) if is_file(path) else None
