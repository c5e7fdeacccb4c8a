"""What a job measured of how good a dictionary, or a sparse autoencoder, is: the report, kept beside it as JSON.

Nothing here imports torch: pages read reports. `itda_core.evaluation` makes them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from itda_core.common.bootstrap import difference_intervals
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_file, read_json, write_sealed
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.settings import MeasureSettings
from itda_core.common.validate import check_format, flag, number, plain_text, whole
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
    """A mean with how sure it is."""

    value: float
    """The mean over the measured tokens."""
    low: float
    """Lower end of its 95 % interval over documents: a bootstrap's, for density and dead latents a jackknife's."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Point:
    """One setting: so many latents, so many of them at a token."""

    latents: int
    """Latents that could be used: of a dictionary the first so many atoms, in order of admission."""
    l0: int
    """Pursuit steps; of an SAE the active latents that it allows, or the mean where it allows any number."""
    measured: dict[str, Measured]
    """By name, of QUALITY_METRICS; what cannot be measured is left out."""
    by_document: dict[str, tuple[float, ...]] = field(default_factory=dict)
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
    tokens: int
    """Tokens measured."""
    documents: int
    """Documents that they are of; the intervals draw these anew."""
    ce_original: float | None
    """Mean next-token cross-entropy of the unchanged model, in nats, over the predictions made at these tokens; None
    where the model could not be run on."""
    ce_zero: float | None
    """The same with the site's activation at these tokens replaced by zeros."""
    series: tuple[Series, ...]
    """Ways to code them, the dictionary's or the SAE's own first."""
    seconds: float
    """Time that measuring took."""
    with_model: bool = True
    """Whether the model was run. Where it makes no predictions, they are not measured all the same."""
    is_seen: bool = False
    """Whether the dictionary was built from the measured tokens: nothing was held out, and there is no other text. Such
    figures flatter, random atoms as well."""
    sources: tuple[int, ...] = ()
    """The documents, by their ordinals in the corpus, rising."""
    by_document: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Of each of PAIRED: what each document adds to its denominator, which is the same for all points."""
    of_sha256: str = ""
    """SHA-256 of the file of its vectors: of a dictionary `atoms.safetensors`, of an SAE its weights."""
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    """What a dictionary was asked to be measured at; of an SAE its tokens alone."""

    @classmethod
    def parse(cls, said: Any) -> "Quality":
        """Read what may come from a stranger's library. Raises DamagedError."""
        try:
            return cls(
                id=plain_text(said["id"]),
                tokens=whole(said["tokens"]),
                documents=whole(said["documents"]),
                ce_original=None if said["ce_original"] is None else number(said["ce_original"]),
                ce_zero=None if said["ce_zero"] is None else number(said["ce_zero"]),
                series=tuple(
                    Series(
                        plain_text(series["name"]),
                        tuple(
                            Point(
                                whole(point["latents"]),
                                whole(point["l0"]),
                                {
                                    name: _measured(name, value)
                                    for name, value in point["measured"].items()
                                    if name in QUALITY_METRICS
                                },
                                _by_document(point["by_document"], len(said["sources"])),
                            )
                            for point in series["points"]
                        ),
                    )
                    for series in said["series"]
                ),
                seconds=number(said["seconds"]),
                with_model=flag(said["with_model"]),
                is_seen=flag(said["is_seen"]),
                sources=tuple(map(whole, said["sources"])),
                by_document=_by_document(said["by_document"], len(said["sources"])),
                of_sha256=plain_text(said["of_sha256"]),
                settings=MeasureSettings(**{name: _plain(value) for name, value in said["settings"].items()}),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, UserError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DamagedError(f"{QUALITY_FILE} is damaged ({what}): {_REMEDY}") from error


def parse_measured(said: Any, of: Callable[[Any], float], what: str = "an interval is") -> Measured:
    """A mean with its interval out of JSON, each value read by `of`; `what` begins the message on one upside down.

    Raises ValueError or TypeError for what is none.
    """
    found = Measured(*map(of, said))
    if found.low > found.high:
        raise ValueError(f"{what} from {found.low:g} to {found.high:g}")
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


def _by_document(said: Any, documents: int) -> dict[str, tuple[float, ...]]:
    found = {name: tuple(map(number, said[name])) for name in PAIRED if name in said}
    if any(len(values) != documents for values in found.values()):
        raise ValueError("it has not one value for each document")
    return found


def _measured(name: str, value: Any) -> Measured:
    found = parse_measured(value, number, f"{QUALITY_METRICS[name]} has an interval")
    if (name in _AT_LEAST_ZERO and found.value < 0) or (name in _AT_MOST_ONE and found.value > 1):
        raise ValueError(f"{QUALITY_METRICS[name]} is {found.value:g}")
    return found


def _plain(value: Any) -> Any:
    """A value of JSON as settings have it."""
    return tuple(value) if isinstance(value, list) else value
