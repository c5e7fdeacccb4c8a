"""What a job measured of how good a dictionary, or a sparse autoencoder, is: the report, kept beside it as JSON.

Nothing here imports torch: pages read reports. `itda_core.evaluation` makes them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
from pydantic import AfterValidator

from itda_core.common.bootstrap import difference_intervals
from itda_core.common.errors import DamagedError
from itda_core.common.files import is_file, read_json, write_sealed
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.settings import MeasureSettings
from itda_core.common.validate import Count, Finite, check_format, damaged, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest

QUALITY_FILE = "quality.json"
"""A report's name in the folder of what it is of."""
_VERSION = 2  # of what is measured: a report of an earlier version is no report
_REMEDY = "delete it and measure again"

QUALITY_METRICS = {
    "ce_loss_score": "CE loss score",
    "variance_explained": "variance explained",
    "relative_error": "relative error",
    "ce_loss": "CE loss",
    "kl": "KL to the unchanged model",
    "l0": "active latents",
    "density": "density",
    "dead": "dead latents",
    "negative": "negative coefficients",
    "large_negative": "large negative coefficients",
}
"""What is measured, by the name it has in a report → its words on a page; `evaluation.measures` defines each."""
PAIRED = ("ce_loss_score", "variance_explained")
"""Measures that are kept by document too, so that two settings can be compared on the same draws of documents; larger
is better for each."""
_SHARES = {"density", "dead", "negative", "large_negative"}
_AT_MOST_ONE = {*_SHARES, "variance_explained"}
_AT_LEAST_ZERO = {*_SHARES, "relative_error", "ce_loss", "kl", "l0"}


class Measured(NamedTuple):
    """A mean and its 95 % interval."""

    value: Finite
    """The mean over the measured tokens."""
    low: Finite
    """Lower end of its 95 % interval over documents: a bootstrap's, for density and dead latents a jackknife's."""
    high: Finite
    """Upper end."""


def _check_order(found: Measured) -> Measured:
    if found.low > found.high:
        raise ValueError(f"an interval from {found.low:g} to {found.high:g}")
    return found


def _known_metrics(found: dict[str, Measured]) -> dict[str, Measured]:
    for name, measured in found.items():
        if (name in _AT_LEAST_ZERO and measured.value < 0) or (name in _AT_MOST_ONE and measured.value > 1):
            raise ValueError(f"{QUALITY_METRICS[name]} is {measured.value:g}")
    return {name: measured for name, measured in found.items() if name in QUALITY_METRICS}


def _known_sums(found: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    return {name: values for name, values in found.items() if name in PAIRED}


OrderedMeasured = Annotated[Measured, AfterValidator(_check_order)]
"""A mean whose interval is not upside down."""
DocumentSums = Annotated[dict[str, tuple[Finite, ...]], AfterValidator(_known_sums)]
"""Of each of PAIRED: one value for each document."""


@dataclass(frozen=True)
class Point:
    """One setting: so many latents, so many of them at a token."""

    latents: Count
    """Latents that could be used: of a dictionary the first so many atoms, in order of admission."""
    l0: Count
    """Pursuit steps; of an SAE the active latents that it allows, or the mean where it allows any number."""
    measured: Annotated[dict[str, OrderedMeasured], AfterValidator(_known_metrics)]
    """By name, of QUALITY_METRICS; what cannot be measured is left out."""
    by_document: DocumentSums = field(default_factory=dict)
    """Of each of PAIRED that was measured: what each document adds to its numerator."""


@dataclass(frozen=True)
class Series:
    """One way to code the same activations, at several settings."""

    name: str
    """`itda`: the dictionary's own atoms; `random`: as many activations drawn at random; `sae`: an SAE's latents."""
    points: tuple[Point, ...]
    """In order of latents and L0."""


@dataclass(frozen=True)
class Quality:
    """How good a dictionary or an SAE is, on tokens that it was not built from, if there are any."""

    id: str
    """Id of the dictionary or the SAE."""
    tokens: Count
    """Tokens measured."""
    documents: Count
    """Documents that they are of; the intervals draw these anew."""
    ce_original: Finite | None
    """Mean next-token cross-entropy of the unchanged model, in nats, over the predictions made at these tokens; None
    where the model could not be run on."""
    ce_zero: Finite | None
    """The same with the site's activation at these tokens replaced by zeros."""
    series: tuple[Series, ...]
    """Ways to code them, the dictionary's or the SAE's own first."""
    seconds: Finite
    """Time that measuring took."""
    with_model: bool = True
    """Whether the model was run. Where it makes no predictions, they are not measured all the same."""
    is_seen: bool = False
    """Whether the dictionary was built from the measured tokens: nothing was held out, and there is no other text. Such
    figures flatter, random atoms as well."""
    sources: tuple[Count, ...] = ()
    """The documents, by their ordinals in the corpus, rising."""
    by_document: DocumentSums = field(default_factory=dict)
    """Of each of PAIRED: what each document adds to its denominator, which is the same for all points."""
    of_sha256: str = ""
    """SHA-256 of the file of its vectors: of a dictionary `atoms.safetensors`, of an SAE its weights."""
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    """What a dictionary was asked to be measured at; of an SAE its tokens alone."""

    @classmethod
    def parse(cls, raw: Any) -> "Quality":
        """Read a report, which may be untrusted. Raises DamagedError."""
        found = parse(cls, raw, QUALITY_FILE, _REMEDY)
        sums = [found.by_document, *(point.by_document for series in found.series for point in series.points)]
        if any(len(values) != len(found.sources) for each in sums for values in each.values()):
            raise damaged(QUALITY_FILE, "it has not one value for each document", _REMEDY)
        return found


def write_quality(quality: Quality, folder: Path) -> None:
    """Keep a report in the folder of what it is of. Raises OSError where it cannot be written."""
    write_sealed(folder / QUALITY_FILE, {"version": _VERSION, **asdict(quality)})


def read_quality(folder: Path) -> Quality | None:
    """The report on what lies in a folder; None while there is none but of an earlier version.

    Raises DamagedError, or NewerError for one of a later version.
    """
    path = folder / QUALITY_FILE
    if not is_file(path):
        return None
    said = read_json(path)
    if isinstance(said, dict) and check_format(said.get("version"), _VERSION, QUALITY_FILE, _REMEDY) < _VERSION:
        return None
    return Quality.parse(said)


def dictionary_quality(library: Library, record: DictionaryManifest) -> Quality | None:
    """The report on a dictionary of a library; None while there is none.

    Raises:
        DamagedError: it is damaged, or of another dictionary.
    """
    found = read_quality(library.folder(record.id))
    if found is None:
        return None
    is_of_it = (found.id, found.of_sha256) == (record.id, record.files[ATOMS_FILE])
    if not is_of_it or any(point.latents > record.n_atoms for series in found.series for point in series.points):
        raise DamagedError(f"{QUALITY_FILE} of {record.id} is of another dictionary: delete it and measure again")
    return found


class ByDocument(Protocol):
    """What points were measured on, as `Quality` has it."""

    @property
    def sources(self) -> tuple[int, ...]:
        """The documents."""
        ...

    @property
    def by_document(self) -> Mapping[str, tuple[float, ...]]:
        """Of each of PAIRED: what each document adds to its denominator."""
        ...


def paired_differences(one: Point, of_one: ByDocument, other: Point, of_other: ByDocument) -> dict[str, Measured]:
    """By how much one point is above another, in each of PAIRED, with the 95 % interval of the difference.

    Both are drawn the same documents. A measure that either lacks is left out; all are where they were not measured on
    the same documents.

    Args:
        one: a point.
        of_one: what it was measured on.
        other: another point.
        of_other: what that was measured on.
    """
    if of_one.sources != of_other.sources:
        return {}
    parts = (one.by_document, of_one.by_document, other.by_document, of_other.by_document)
    names = [name for name in PAIRED if all(name in part for part in parts)]
    if not names:
        return {}
    above, below, others_above, others_below = (np.array([part[name] for name in names]).T for part in parts)
    found = {}
    intervals = difference_intervals(above, below, others_above, others_below)
    for at, (name, interval) in enumerate(zip(names, intervals, strict=True)):
        totals = [float(each[:, at].sum()) for each in (above, below, others_above, others_below)]
        if interval is not None and totals[1] > 0 and totals[3] > 0:
            found[name] = Measured(totals[0] / totals[1] - totals[2] / totals[3], *interval)
    return found
