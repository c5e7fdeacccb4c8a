"""Stored report of probing single latents for token properties.

The report is stored beside the dictionary. Nothing here imports torch, since pages read reports;
`itda_core.evaluation.probing` makes them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from itda_core.common.errors import DamagedError
from itda_core.common.files import is_file, read_json, write_sealed
from itda_core.common.layout import ATOMS_FILE
from itda_core.common.validate import Count, Finite, Positive, Share, check_format, damaged, parse
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import Measured, OrderedMeasured

PROBING_FILE = "probing.json"
"""Name of the report in the dictionary's folder."""
_VERSION = 1  # of the measured values: a report of an earlier version is measured again
_REMEDY = "delete it and probe again"

ITDA, RANDOM_ATOMS, DIMENSIONS, DIRECTIONS, SAE = "itda", "random", "raw", "directions", "sae:"
CODER_WORDS = {
    ITDA: "atoms",
    RANDOM_ATOMS: "random atoms",
    DIMENSIONS: "the model's own dimensions",
    DIRECTIONS: "random directions",
}
"""Name of a coder in a report → displayed name; an SAE's name is `sae:` and its id."""


@dataclass(frozen=True)
class ProbedCoder:
    """Coder whose latents were probed."""

    name: str
    """One of CODER_WORDS, or `sae:` and an SAE's id."""
    latents: Count
    """Number of its latents."""
    active: Finite
    """Mean number of nonzero latents per token."""

    @property
    def words(self) -> str:
        """Displayed name."""
        is_sae = self.name.startswith(SAE)
        return f"SAE {self.name.removeprefix(SAE)}" if is_sae else CODER_WORDS.get(self.name, self.name)


def _check_shares(found: Measured) -> Measured:
    if not all(0 <= value <= 1 for value in found):
        raise ValueError(f"an accuracy of {found.value:g}, from {found.low:g} to {found.high:g}")
    return found


SharesMeasured = Annotated[OrderedMeasured, AfterValidator(_check_shares)]
"""Mean of shares, with its interval."""


@dataclass(frozen=True)
class Score:
    """Accuracy of probes on k latents of a coder, for a property or a mean over all."""

    coder: str
    """Name of the coder."""
    k: Positive | None
    """Number of latents that the probe reads; None for all."""
    accuracy: SharesMeasured
    """Balanced accuracy on the test tokens, with its 95 % bootstrap interval over test documents: the mean of the
    shares of correctly classified tokens among those with and among those without the property. A guess that ignores
    the token has 0.5."""
    lead: OrderedMeasured | None
    """Difference from the accuracy of the dictionary's own atoms with as many latents, with its interval from the same
    draws of documents for both; None for the atoms themselves."""


@dataclass(frozen=True)
class Probe(Score):
    """Probe for one property."""

    auc: Share
    """Area under the ROC curve on the test tokens."""
    precision: Share | None
    """Share of the test tokens classified as positive that have the property; None if none is classified so."""
    recall: Share
    """Share of the test tokens with the property that are classified as positive."""
    latents: tuple[Count, ...]
    """Latents that it reads, that with the largest difference between the classes first; empty if it reads all."""
    signs: tuple[Literal[-1, 1], ...]
    """For each latent: 1 if it is larger on tokens with the property, −1 if it is smaller."""


@dataclass(frozen=True)
class ProbedProperty:
    """Property with all of its probes."""

    name: str
    """Name of the property, see `itda_core.reports.properties.property_of`."""
    tokens: Count
    """Number of tokens with the property."""
    documents: Count
    """Number of documents that contain those tokens."""
    test_tokens: Count
    """Number of test tokens with the property."""
    by_position: Share
    """Balanced accuracy from the token's position in its document alone."""
    by_token: Share
    """Balanced accuracy from the token's identity alone."""
    probes: tuple[Probe, ...]
    """Probes, by coder and k."""


@dataclass(frozen=True)
class Probing:
    """Report on probing a dictionary and the coders that it is compared with."""

    id: str
    """Id of the dictionary."""
    atoms_sha256: str
    """Hash of its atoms; the report does not apply to a dictionary that was built again."""
    asked: Count
    """Number of tokens requested."""
    seed: Count
    """Seed of the split, of random atoms and of random directions."""
    tokens: Count
    """Number of probed tokens: none is white space, and all are in documents that the dictionary was not built from."""
    documents: Count
    """Number of documents that contain them."""
    test_tokens: Count
    """Number of tokens that no probe was trained on."""
    test_documents: Count
    """Number of documents that contain the test tokens; no document has both training and test tokens."""
    coders: tuple[ProbedCoder, ...]
    """Coders that were probed, the dictionary first."""
    properties: tuple[ProbedProperty, ...]
    """Properties that enough tokens have and enough tokens lack."""
    means: tuple[Score, ...]
    """Mean over all properties, by coder and k."""
    left_out: dict[str, str]
    """Property that could not be probed → reason."""
    seconds: Finite
    """Duration of probing."""

    @classmethod
    def parse(cls, raw: Any) -> "Probing":
        """Parse a report, which may be untrusted.

        Raises DamagedError.
        """
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
                    raise ValueError("a probe does not read as many latents as it states")


def write_probing(report: Probing, folder: Path) -> None:
    """Write a report to the folder of its dictionary.

    Raises OSError if it cannot be written.
    """
    write_sealed(folder / PROBING_FILE, {"version": _VERSION, **asdict(report)})


def read_probing(record: DictionaryManifest, folder: Path) -> Probing | None:
    """Return the report on a dictionary, which is stored in its folder.

    None if there is none: never made, of an earlier version, or made before the dictionary was built again. Raises
    DamagedError, or NewerError for one of a later version.
    """
    path = folder / PROBING_FILE
    if not is_file(path):
        return None
    raw = read_json(path)
    if isinstance(raw, dict) and check_format(raw.get("version"), _VERSION, PROBING_FILE, _REMEDY) < _VERSION:
        return None
    report = Probing.parse(raw)
    if report.id != record.id:
        raise DamagedError(f"{PROBING_FILE} is of another dictionary, {report.id[:80]!r}: delete it and probe again")
    if (atoms := next(each.latents for each in report.coders if each.name == ITDA)) != record.n_atoms:
        raise DamagedError(f"{PROBING_FILE} is of {atoms} atoms: delete it and probe again")
    return report if report.atoms_sha256 == record.files[ATOMS_FILE] else None
