"""What a job is asked for and found of how much single latents tell of a token: the report lies beside the dictionary.

Nothing here imports torch: pages read reports. `itda_core.evaluation.probing.probe` makes them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_file, read_json, write_sealed
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.validate import Count, Finite, Positive, Share, check_format, damaged, parse
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import Measured, OrderedMeasured

PROBING_FILE = "probing.json"
"""A report's name in the folder of the dictionary."""
_VERSION = 1  # of what is measured: a report of an earlier version is measured anew
_REMEDY = "delete it and probe again"

ITDA, RANDOM_ATOMS, DIMENSIONS, DIRECTIONS, SAE = "itda", "random", "raw", "directions", "sae:"
CODER_WORDS = {
    ITDA: "atoms",
    RANDOM_ATOMS: "random atoms",
    DIMENSIONS: "the model's own dimensions",
    DIRECTIONS: "random directions",
}
"""What is probed, by the name that it has in a report; an SAE's name is `sae:` and its id."""


@dataclass(frozen=True)
class ProbingSettings:
    """How much is probed."""

    tokens: int = 40_000
    """Tokens to read at most."""
    seed: int = 0
    """Of the split, of random atoms and of random directions."""

    def __post_init__(self) -> None:
        if not 1000 <= self.tokens < 2**31:
            raise UserError(f"tokens is {self.tokens}: probes need 1000 or more, and take fewer than 2^31")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}: give a whole number from 0 to 2^32 − 1")


@dataclass(frozen=True)
class ProbedCoder:
    """Something whose latents were probed."""

    name: str
    """One of CODER_WORDS, or `sae:` and an SAE's id."""
    latents: Count
    """How many latents it has."""
    active: Finite
    """How many of them a token has, on average, that are not zero."""

    @property
    def words(self) -> str:
        """What it is called on a page."""
        is_sae = self.name.startswith(SAE)
        return f"SAE {self.name.removeprefix(SAE)}" if is_sae else CODER_WORDS.get(self.name, self.name)


def _check_shares(found: Measured) -> Measured:
    if not all(0 <= value <= 1 for value in found):
        raise ValueError(f"an accuracy of {found.value:g}, from {found.low:g} to {found.high:g}")
    return found


SharesMeasured = Annotated[OrderedMeasured, AfterValidator(_check_shares)]
"""A mean of shares with its interval."""


@dataclass(frozen=True)
class Score:
    """How well a property is told from k latents of a coder, or all properties on average."""

    coder: str
    """Name of the coder."""
    k: Positive | None
    """Latents that the probe reads; None for all."""
    accuracy: SharesMeasured
    """Balanced accuracy on the test tokens: the mean of the shares of those with and of those without the property
    that are told right. 0.5 is what any guess has that does not look. With its 95 % bootstrap interval over test
    documents."""
    lead: OrderedMeasured | None
    """By how much that is more than the dictionary's own atoms have with as many latents, the same documents drawn for
    both; None for the atoms themselves."""


@dataclass(frozen=True)
class Probe(Score):
    """A probe for one property."""

    auc: Share
    """Area under the ROC curve on the test tokens."""
    precision: Share | None
    """Of the test tokens that the probe says have it, the share that does; None where it says so of none."""
    recall: Share
    """Of the test tokens that have the property, the share that the probe says so of."""
    latents: tuple[Count, ...]
    """The latents that it reads, the one with the largest difference between the classes first; empty where all."""
    signs: tuple[Literal[-1, 1], ...]
    """Of each: 1 where it is larger on tokens that have the property, −1 where it is smaller."""


@dataclass(frozen=True)
class ProbedProperty:
    """One property, and every probe for it."""

    name: str
    """Its name, see `evaluation.labels.property_of`."""
    tokens: Count
    """Tokens that have it."""
    documents: Count
    """Documents that those are of."""
    test_tokens: Count
    """Those among the test tokens."""
    by_position: Share
    """Balanced accuracy from nothing but the token's position in its document."""
    by_token: Share
    """Balanced accuracy from nothing but which token it is."""
    probes: tuple[Probe, ...]
    """By coder and k."""


@dataclass(frozen=True)
class Probing:
    """How much single latents tell, for a dictionary and what it is held against."""

    id: str
    """Id of the dictionary."""
    atoms_sha256: str
    """Hash of its atoms: a dictionary that was built anew has no report."""
    asked: Count
    """Tokens that were asked for."""
    seed: Count
    """Of the split, of random atoms and of random directions."""
    tokens: Count
    """Tokens that were probed: none of white space, all of documents that the dictionary was not built from."""
    documents: Count
    """Documents that they are of."""
    test_tokens: Count
    """Those that no probe was trained on."""
    test_documents: Count
    """Documents that those are of; none has tokens on both sides."""
    coders: tuple[ProbedCoder, ...]
    """What was probed, the dictionary first."""
    properties: tuple[ProbedProperty, ...]
    """Those that enough tokens have, and enough lack."""
    means: tuple[Score, ...]
    """By coder and k, the mean over all properties."""
    left_out: dict[str, str]
    """Properties that could not be probed → why."""
    seconds: Finite
    """Time that it took."""

    @classmethod
    def parse(cls, raw: Any) -> "Probing":
        """Read a report, which may be untrusted. Raises DamagedError."""
        report = parse(cls, raw, PROBING_FILE, _REMEDY)
        try:
            report._check()
        except ValueError as error:
            raise damaged(PROBING_FILE, str(error), _REMEDY) from error
        return report

    def _check(self) -> None:
        latents = {each.name: each.latents for each in self.coders}
        if len(latents) < len(self.coders) or ITDA not in latents:
            raise ValueError("it names a coder twice, or not the dictionary's atoms")
        scores = [*self.means, *(probe for each in self.properties for probe in each.probes)]
        if unknown := {score.coder for score in scores} - latents.keys():
            raise ValueError(f"it has scores of {min(unknown)[:40]!r}, which is none of its coders")
        if len({each.name for each in self.properties}) < len(self.properties):
            raise ValueError("it names a property twice")
        if not self.means or not self.properties:
            raise ValueError("it has no scores")
        if not 0 < self.test_tokens < self.tokens or not 0 < self.test_documents < self.documents:
            raise ValueError("it has not some tokens and documents to train on and others to test on")
        for each in self.properties:
            trained, all_trained = each.tokens - each.test_tokens, self.tokens - self.test_tokens
            if not 0 < each.test_tokens < self.test_tokens or not 0 < trained < all_trained:
                raise ValueError("a property is one of no token or of all, to train on or to test on")
            if not each.probes:
                raise ValueError("it names a property without a probe")
            for probe in each.probes:
                if any(latent >= latents[probe.coder] for latent in probe.latents):
                    raise ValueError(f"a probe reads a latent that {probe.coder[:40]!r} does not have")
                if len(probe.signs) != len(probe.latents):
                    raise ValueError("a probe has not as many signs as latents")
                if len(probe.latents) != (probe.k or 0):
                    raise ValueError("a probe does not read as many latents as it says")


def write_probing(report: Probing, folder: Path) -> None:
    """Keep a report in the folder of its dictionary. Raises OSError where it cannot be written."""
    write_sealed(folder / PROBING_FILE, {"version": _VERSION, **asdict(report)})


def read_probing(record: DictionaryManifest, folder: Path) -> Probing | None:
    """The report on a dictionary, which lies in its folder.

    None while there is none: never made, of an earlier version, or made before the dictionary was built anew. Raises
    DamagedError, or NewerError for one of a later version.
    """
    path = folder / PROBING_FILE
    if not is_file(path):
        return None
    said = read_json(path)
    if isinstance(said, dict) and check_format(said.get("version"), _VERSION, PROBING_FILE, _REMEDY) < _VERSION:
        return None
    report = Probing.parse(said)
    if report.id != record.id:
        raise DamagedError(f"{PROBING_FILE} is of another dictionary, {report.id[:80]!r}: delete it and probe again")
    if (atoms := next(each.latents for each in report.coders if each.name == ITDA)) != record.n_atoms:
        raise DamagedError(f"{PROBING_FILE} tells of {atoms} atoms: delete it and probe again")
    return report if report.atoms_sha256 == record.files[ATOMS_FILE] else None
