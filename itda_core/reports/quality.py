"""Stored report on the quality of a dictionary or a sparse autoencoder.

It is stored beside the dictionary or SAE as JSON. Nothing here imports torch, since pages read reports;
`itda_core.evaluation` makes them.
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
from itda_core.common.validate import Count, Finite, check_format, damaged, only, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest

QUALITY_FILE = "quality.json"
"""Name of the report in the folder of the dictionary or SAE."""
_VERSION = 2  # of the measured values: a report of an earlier version is ignored
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
"""Name of a measure in a report → displayed name; `evaluation.measures` defines each."""
PAIRED = ("ce_loss_score", "variance_explained")
"""Measures that are also stored by document, so that two settings can be compared on the same draws of documents; a
larger value is better for each."""
_SHARES = {"density", "dead", "negative", "large_negative"}
_AT_MOST_ONE = {*_SHARES, "variance_explained"}
_AT_LEAST_ZERO = {*_SHARES, "relative_error", "ce_loss", "kl", "l0"}


class Measured(NamedTuple):
    """Mean with its 95 % interval."""

    value: Finite
    """Mean over the measured tokens."""
    low: Finite
    """Lower end of its 95 % interval over documents: bootstrap, or jackknife for density and dead latents."""
    high: Finite
    """Upper end of the interval."""


def _check_order(found: Measured) -> Measured:
    if found.low > found.high:
        raise ValueError(f"an interval from {found.low:g} to {found.high:g}")
    return found


def _check_bounds(found: dict[str, Measured]) -> dict[str, Measured]:
    for name, measured in found.items():
        if (name in _AT_LEAST_ZERO and measured.value < 0) or (name in _AT_MOST_ONE and measured.value > 1):
            raise ValueError(f"{QUALITY_METRICS[name]} is {measured.value:g}")
    return found


OrderedMeasured = Annotated[Measured, AfterValidator(_check_order)]
"""Mean whose interval has its ends in order."""
DocumentSums = Annotated[dict[str, tuple[Finite, ...]], only(PAIRED)]
"""One value per document, by measure of PAIRED."""


@dataclass(frozen=True)
class Point:
    """Measures at one setting: number of latents, and of active ones per token."""

    latents: Count
    """Number of available latents; for a dictionary its first atoms, in order of admission."""
    l0: Count
    """Pursuit steps; for an SAE the number of active latents that it allows, or the mean if it allows any number."""
    measured: Annotated[dict[str, OrderedMeasured], only(QUALITY_METRICS), AfterValidator(_check_bounds)]
    """Measures by name in QUALITY_METRICS; those that cannot be measured are left out."""
    by_document: DocumentSums
    """Each document's contribution to the numerator, for each of PAIRED that was measured."""


@dataclass(frozen=True)
class Series:
    """Measures of one coder on the same activations, at several settings."""

    name: str
    """`itda`: the dictionary's own atoms; `random`: as many randomly drawn activations; `sae`: an SAE's latents."""
    points: tuple[Point, ...]
    """Points, in order of latents and L0."""


@dataclass(frozen=True)
class Quality:
    """Quality of a dictionary or SAE, on tokens not used to build it if there are any."""

    id: str
    """Id of the dictionary or the SAE."""
    tokens: Count
    """Number of measured tokens."""
    documents: Count
    """Number of documents that contain them; the intervals are computed by resampling these."""
    ce_original: Finite | None
    """Mean next-token cross-entropy of the unchanged model, in nats, over the predictions made at these tokens; None
    if the model was not run on them or makes no predictions."""
    ce_zero: Finite | None
    """Cross-entropy as in `ce_original`, with the site's activations at these tokens replaced by zeros."""
    series: tuple[Series, ...]
    """Measures by coder, the dictionary's or the SAE's own first."""
    seconds: Finite
    """Duration of measuring."""
    with_model: bool = True
    """True if the model was run; its predictions are still not measured if it makes none."""
    is_seen: bool = False
    """True if the dictionary was built from the measured tokens, since nothing was held out and there is no other text.
    Such values are optimistic, also for random atoms."""
    sources: tuple[Count, ...] = ()
    """Ordinals of the documents in the corpus, in ascending order."""
    by_document: DocumentSums = field(default_factory=dict)
    """Each document's contribution to the denominator, for each of PAIRED; it is the same for all points."""
    of_sha256: str = ""
    """SHA-256 of the file of its vectors: `atoms.safetensors` of a dictionary, the weights of an SAE."""
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    """Requested settings; for an SAE only the number of tokens is used."""

    @classmethod
    def parse(cls, raw: Any) -> "Quality":
        """Parse a report, which may be untrusted.

        Raises DamagedError.
        """
        found = parse(cls, raw, QUALITY_FILE, _REMEDY, has_all=True)
        sums = [found.by_document, *(point.by_document for series in found.series for point in series.points)]
        if any(len(values) != len(found.sources) for each in sums for values in each.values()):
            raise damaged(QUALITY_FILE, "it has not one value for each document", _REMEDY)
        return found


def write_quality(quality: Quality, folder: Path) -> None:
    """Write a report to the folder of its dictionary or SAE.

    Raises OSError if it cannot be written.
    """
    write_sealed(folder / QUALITY_FILE, {"version": _VERSION, **asdict(quality)})


def read_quality(folder: Path) -> Quality | None:
    """Return the report on the dictionary or SAE that is stored in a folder.

    None if there is none, or only one of an earlier version. Raises DamagedError, or NewerError for one of a later
    version.
    """
    path = folder / QUALITY_FILE
    if not is_file(path):
        return None
    raw = read_json(path)
    if isinstance(raw, dict) and check_format(raw.get("version"), _VERSION, QUALITY_FILE, _REMEDY) < _VERSION:
        return None
    return Quality.parse(raw)


def dictionary_quality(library: Library, record: DictionaryManifest) -> Quality | None:
    """Return the report on a dictionary of a library, or None if there is none.

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
    """Protocol of the documents that points were measured on, as in `Quality`."""

    @property
    def sources(self) -> tuple[int, ...]:
        """Ordinals of the documents in the corpus."""
        ...

    @property
    def by_document(self) -> Mapping[str, tuple[float, ...]]:
        """Each document's contribution to the denominator, for each of PAIRED."""
        ...


def paired_differences(one: Point, of_one: ByDocument, other: Point, of_other: ByDocument) -> dict[str, Measured]:
    """Return the difference of two points in each of PAIRED, with its 95 % interval.

    The difference is `one` minus `other`. The same draws of documents are used for both. A measure that either lacks is
    left out; all are left out if the points were not measured on the same documents.

    Args:
        one: a point.
        of_one: the documents that it was measured on.
        other: another point.
        of_other: the documents that `other` was measured on.
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
