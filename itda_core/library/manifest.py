"""Read and check a dictionary's manifest, which may be untrusted."""

import re
from dataclasses import dataclass
from typing import Any

from itda_core.common.energy import Spread
from itda_core.common.errors import DamagedError, NewerError, UserError
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.settings import DEEPEST, DTYPES, DictionarySettings, WindowSettings
from itda_core.common.types import GrowthPoint, Site
from itda_core.common.validate import check_format, flag, number, plain_text, whole

FORMAT = 1
"""The number of the format that manifests of dictionaries are written in."""
ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,119}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_WIDEST, _LONGEST = 10**7, 10**9  # of activations, and seconds that a build took
MOST_SPECIAL = 999
"""Special tokens that a tokenizer may put before a text."""


@dataclass(frozen=True)
class DictionaryManifest:
    """What the manifest of a built dictionary says."""

    id: str
    """Its id, and its folder's name."""
    model: str
    """Name of the model: a Hub id, or a folder's name."""
    revision: str | None
    """Commit of the model on the Hub."""
    weights_sha256: str | None
    """Hash of the weights that ran; None for those of a model on a server."""
    dtype: str
    """What the model computed in; `remote` where a server chose."""
    tokenizer_sha256: str
    """Hash of the tokenizer; dictionaries that share it and the corpus share token positions. Empty where it is not
    known."""
    n_layers: int
    """Blocks in the model; 0 where that is not known."""
    site: Site
    """Where in the model."""
    corpus: str
    """Id of the corpus; where it was imported without one, what the texts are said to be."""
    cut: WindowSettings
    """How documents were cut."""
    settings: DictionarySettings
    """How the dictionary was built."""
    n_atoms: int
    """Atoms."""
    d_model: int
    """Width of the activations."""
    n_tokens: int
    """Tokens captured, held-out ones included; 0 where it was imported without a model and a corpus."""
    holdout: bool
    """Whether every tenth document was kept out of building."""
    relative_error: float | None
    """Mean relative reconstruction error over the measured tokens; None where none were measured."""
    measured_tokens: int
    """Tokens measured: the held-out ones, or all where nothing was held out."""
    seconds: float
    """Time that building and indexing took."""
    created: str
    """When, in UTC, ISO 8601."""
    history: tuple[GrowthPoint, ...]
    """Growth of the dictionary, batch by batch."""
    versions: dict[str, str]
    """Versions of the packages that made it."""
    files: dict[str, str]
    """SHA-256 of every file that never changes."""
    prefix: int | None = None
    """Special tokens that the tokenizer puts before a text; None where that is not said."""
    energy: Spread | None = None
    """Where the energy of the activations is that it was built from; None where that is not said."""

    @classmethod
    def parse(cls, dictionary_id: str, manifest: Any) -> "DictionaryManifest":
        """Read a manifest, which may come from a stranger.

        Raises DamagedError for one that is not a dictionary's, NewerError for one that a newer version wrote.
        """
        check_manifest(manifest, f"{MANIFEST_FILE} of dictionary {dictionary_id}")
        try:
            if manifest["id"] != dictionary_id:
                raise ValueError(f"it names another id, {manifest['id']!r}")
            n_layers, layer = whole(manifest["n_layers"], 0, DEEPEST + 1), whole(manifest["layer"], 0, DEEPEST)
            if 0 < n_layers <= layer:
                raise ValueError(f"a model of {n_layers} layers has no layer {layer}")
            error, prefix, energy = manifest["relative_error"], manifest.get("prefix"), manifest.get("energy")
            return cls(
                id=dictionary_id,
                model=plain_text(manifest["model"]),
                revision=None if manifest["revision"] is None else plain_text(manifest["revision"]),
                weights_sha256=None if manifest["weights_sha256"] is None else plain_text(manifest["weights_sha256"]),
                dtype=_dtype(manifest["dtype"]),
                tokenizer_sha256=plain_text(manifest["tokenizer_sha256"]),
                n_layers=n_layers,
                site=Site(layer, plain_text(manifest["hook"])),
                corpus=plain_text(manifest["corpus"]),
                cut=WindowSettings(**manifest["cut"]),
                settings=DictionarySettings(**manifest["settings"]),
                n_atoms=whole(manifest["n_atoms"]),
                d_model=whole(manifest["d_model"], 1, _WIDEST),
                n_tokens=whole(manifest["n_tokens"]),
                holdout=flag(manifest["holdout"]),
                relative_error=None if error is None else number(error),
                measured_tokens=whole(manifest["measured_tokens"]),
                seconds=_seconds(manifest["seconds"]),
                created=plain_text(manifest["created"]),
                history=tuple(parse_growth(manifest["history"])),
                versions={plain_text(name): plain_text(version) for name, version in manifest["versions"].items()},
                files={_file_name(name): plain_text(digest) for name, digest in manifest["files"].items()},
                prefix=None if prefix is None else whole(prefix, 0, MOST_SPECIAL),
                energy=None if energy is None else Spread.parse(energy),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, UserError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DamagedError(f"{MANIFEST_FILE} of dictionary {dictionary_id} is damaged: {what}") from error

    @property
    def has_text(self) -> bool:
        """Whether a corpus was encoded with it; without, it holds atoms and no text."""
        return self.n_tokens > 0

    def summary(self) -> dict[str, Any]:
        """What `itda list --json` says of a dictionary."""
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
        }


def check_manifest(manifest: Any, what: str) -> None:
    """Raises NewerError for a dictionary's manifest that a newer version wrote; `what` begins the message."""
    if isinstance(manifest, dict):
        check_format(manifest.get("format", FORMAT), FORMAT, what, "build the dictionary again")


def parse_growth(history: Any) -> list[GrowthPoint]:
    """The growth of a dictionary as its manifest has it. Raises ValueError or TypeError for what is none."""
    return [GrowthPoint(whole(rows), whole(atoms), number(error)) for rows, atoms, error in history]


def is_id(text: str) -> bool:
    """Whether a text can be the id of a dictionary, and so the name of its folder."""
    return ID.fullmatch(text) is not None


@dataclass(frozen=True)
class InvalidDictionary:
    """A dictionary's folder that cannot be used."""

    id: str
    """The folder's name."""
    reason: str
    """What is wrong, in one line that says what to do."""
    is_newer: bool = False
    """Whether nothing is wrong but that a newer version wrote it: it is not to be deleted."""

    @classmethod
    def of(cls, name: str, error: UserError) -> "InvalidDictionary":
        """What an error says of a folder."""
        return cls(name, str(error), isinstance(error, NewerError))


def _seconds(value: Any) -> float:
    found = number(value)
    if not 0 <= found <= _LONGEST:
        raise ValueError(f"a build that took {found:g} seconds")
    return found


def _dtype(value: Any) -> str:
    if value not in (*DTYPES, "remote"):
        raise ValueError(f"{str(value)[:40]!r} is nothing that a model computes in")
    return value


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not _FILE.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} is not the name of a file beside it")
    return value
