"""Read and check a dictionary's manifest, which may be untrusted."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from itda_core.common.energy import Spread
from itda_core.common.errors import NewerError, UserError
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.norms import NormSummary
from itda_core.common.settings import DEEPEST, DTYPES, DictionarySettings, WindowSettings
from itda_core.common.types import GrowthPoint, Site
from itda_core.common.validate import Count, Finite, check_format, damaged, parse

FORMAT = 2
"""Latest format of the manifests of dictionaries: 1, or 2 with a mean that is subtracted first."""
ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,119}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_REMEDY = "build the dictionary again"
_WIDEST, _LONGEST = 10**7, 10**9  # largest width of activations, and longest build in seconds
MOST_SPECIAL = 999
"""Upper limit of the special tokens that a tokenizer puts before a text."""


def _check_dtype(value: str) -> str:
    if value not in (*DTYPES, "remote"):
        raise ValueError(f"{value[:40]!r} is no type that a model computes in")
    return value


def _check_file_name(value: str) -> str:
    if not _FILE.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is not the name of a file beside it")
    return value


@dataclass(frozen=True)
class DictionaryManifest:
    """Parsed manifest of a built dictionary."""

    id: str
    """Its id, which is also its folder's name."""
    model: str
    """Name of the model: a Hub id, or a folder's name."""
    revision: str | None
    """Commit of the model on the Hub."""
    weights_sha256: str | None
    """Hash of the weights that ran; None for a model on a server."""
    dtype: Annotated[str, AfterValidator(_check_dtype)]
    """Data type that the model computed in; `remote` if a server chose it."""
    tokenizer_sha256: str
    """Hash of the tokenizer; dictionaries with the same tokenizer and corpus share token positions. Empty if
    unknown."""
    n_layers: Annotated[int, Field(ge=0, le=DEEPEST + 1)]
    """Number of blocks of the model; 0 if unknown."""
    site: Site
    """Site in the model."""
    corpus: str
    """Id of the corpus; for a dictionary that was imported without one, a description of the texts."""
    cut: WindowSettings
    """Window settings by which documents were cut."""
    settings: DictionarySettings
    """Settings of the build."""
    n_atoms: Count
    """Number of atoms."""
    d_model: Annotated[int, Field(ge=1, le=_WIDEST)]
    """Width of the activations."""
    n_tokens: Count
    """Tokens captured, held-out ones included; 0 if it was imported without a model and a corpus."""
    holdout: bool
    """Whether every tenth document was held out of building."""
    relative_error: Finite | None
    """Mean relative reconstruction error over the measured tokens; None if none were measured."""
    measured_tokens: Count
    """Tokens measured: the held-out ones, or all if nothing was held out."""
    seconds: Annotated[float, Field(ge=0, le=_LONGEST)]
    """Duration of building and indexing."""
    created: str
    """Time of creation in UTC, ISO 8601."""
    history: tuple[GrowthPoint, ...]
    """Growth of the dictionary, batch by batch."""
    versions: dict[str, str]
    """Versions of the packages that built it."""
    files: dict[Annotated[str, AfterValidator(_check_file_name)], str]
    """SHA-256 of every immutable file, by name."""
    prefix: Annotated[int, Field(ge=0, le=MOST_SPECIAL)] | None = None
    """Special tokens that the tokenizer puts before a text; None if not recorded."""
    variance_explained: Finite | None = None
    """Share of the variance of the measured tokens' activations that is explained; None if not recorded."""
    energy: Spread | None = None
    """Concentration of the energy of the activations that it was built from; None if not recorded."""
    norms: NormSummary | None = None
    """Norms of the activations of all captured tokens; None if not recorded."""

    @classmethod
    def parse(cls, dictionary_id: str, manifest: Any) -> "DictionaryManifest":
        """Read a manifest, which may be untrusted.

        Raises DamagedError for one that is not a dictionary's, NewerError for one that a newer version wrote.
        """
        subject = f"{MANIFEST_FILE} of dictionary {dictionary_id}"
        check_manifest(manifest, subject)
        if isinstance(manifest, dict):
            manifest = manifest | {"site": {name: manifest.get(name) for name in ("layer", "hook")}}
        found = parse(cls, manifest, subject, _REMEDY)
        if found.id != dictionary_id:
            raise damaged(subject, f"it names another id, {found.id[:80]!r}", _REMEDY)
        if found.norms is not None and max(found.norms.atoms, default=0) >= max(1, found.n_atoms):
            raise damaged(subject, "it marks atoms that it does not have", _REMEDY)
        if found.n_encoded < 0:
            raise damaged(subject, "it leaves out more tokens than were captured", _REMEDY)
        if 0 < found.n_layers <= found.site.layer or found.site.layer > DEEPEST:
            raise damaged(subject, f"a model of {found.n_layers} layers has no layer {found.site.layer}", _REMEDY)
        return found

    @property
    def largest_norm(self) -> float | None:
        """Largest norm of an activation that it was built from and is measured on; None if there is no limit."""
        limit = self.settings.max_norm
        return None if limit is None or self.norms is None else limit * self.norms.median

    @property
    def n_encoded(self) -> int:
        """Number of tokens that were encoded: those captured, less those with too large a norm."""
        return self.n_tokens - (0 if self.norms is None else self.norms.left_out)

    @property
    def has_text(self) -> bool:
        """Flag of a dictionary with which a corpus was encoded; others hold no text."""
        return self.n_tokens > 0

    def summary(self) -> dict[str, Any]:
        """Return the entry of a dictionary in `itda list --json`."""
        return {
            "id": self.id,
            "model": self.model,
            "layer": self.site.layer,
            "hook": self.site.hook,
            "corpus": self.corpus,
            "n_atoms": self.n_atoms,
            "n_tokens": self.n_tokens,
            "l0": self.settings.l0,
            "threshold": self.settings.threshold,
            "error": self.settings.error,
            "scan": self.settings.scan,
            "relative_error": self.relative_error,
            "variance_explained": self.variance_explained,
        }


def check_manifest(manifest: Any, subject: str) -> None:
    """Raise NewerError for a dictionary's manifest that a newer version wrote.

    `what` is the start of the message.
    """
    if isinstance(manifest, dict):
        check_format(manifest.get("format", FORMAT), FORMAT, subject, _REMEDY)


def is_id(text: str) -> bool:
    """Return whether a text is a valid dictionary id, and so a valid folder name."""
    return ID.fullmatch(text) is not None


@dataclass(frozen=True)
class InvalidDictionary:
    """A dictionary's folder that cannot be used."""

    id: str
    """The folder's name."""
    reason: str
    """The problem in one line, with a remedy."""
    is_newer: bool = False
    """Whether the only problem is that a newer version wrote it: it must not be deleted."""

    @classmethod
    def of(cls, name: str, error: UserError) -> "InvalidDictionary":
        """Create the entry for a folder from the error that reading it raised."""
        return cls(name, str(error), isinstance(error, NewerError))
