"""The stored layer similarity of two models; untrusted when read."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from itda_core.common.files import is_file, read_json, slug
from itda_core.common.settings import LayersSettings
from itda_core.common.validate import Count, Finite, Positive, Share, check_format, damaged, parse
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
    key: Key
    """What makes tokens the same: `token` (document and position) or `characters` (where in the text it ends)."""
    tokens: Count
    """Tokens that are compared."""
    coverage: tuple[Share, Share]
    """Share of the tokens that each read which the other has too."""
    l0: Positive
    """Pursuit steps of the dictionaries."""
    threshold: Finite
    """Relative error above which a token became an atom."""
    atoms: tuple[tuple[Count, ...], tuple[Count, ...]]
    """Atoms of each layer's dictionary, of each model."""
    union: Share
    """Jaccard of the sources of all layers together (the paper, §5.2)."""
    union_interval: ShareInterval
    """95 % bootstrap interval of `union` over documents."""
    union_chance: Share
    """The union to expect if each model had chosen as many sources blindly among the tokens compared."""
    union_sources: tuple[Count, Count]
    """Distinct sources of all layers together, of each model."""
    values: Mapping[str, tuple[tuple[Finite, ...], ...]]
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
    def parse(cls, raw: Any) -> "LayerSimilarity":
        """Read a report, which may be untrusted. Raises DamagedError, or NewerError for a later version."""
        what = "a report on layers"
        if isinstance(raw, dict):
            check_format(raw.get("version", VERSION), VERSION, what, _REMEDY)
        found = parse(cls, raw, what, _REMEDY)
        shape = tuple(map(len, found.atoms))
        known = {name: rows for name, rows in found.values.items() if name in LAYER_MEASURES}
        if not known:
            raise damaged(what, "it has no values of a known measure", _REMEDY)
        for rows in known.values():
            if (len(rows), {len(row) for row in rows}) != (shape[0], {shape[1]}):
                raise damaged(what, "a matrix has another shape than the models", _REMEDY)
        left_out, cautions = (
            {name: why for name, why in each.items() if name in LAYER_MEASURES}
            for each in (found.left_out, found.cautions)
        )
        return replace(found, values=known, left_out=left_out, cautions=cautions)


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
