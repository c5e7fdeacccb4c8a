"""The sparse autoencoders that a library keeps beside its dictionaries: what is asked of one, what its manifest says.

Nothing here imports torch or SAELens: pages read records. `itda_core.evaluation.sae` makes and loads SAEs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from itda_core.config import CutSettings
from itda_core.files import read_json, sha256_of
from itda_core.layout import MANIFEST_FILE
from itda_core.library import Damaged, DictionaryRecord, Library, is_id
from itda_core.parsing import number, plain_text, whole
from itda_core.quality import QUALITY_FILE, Quality, read_quality
from itda_core.types import DamagedError, Site, UserError

KINDS = ("topk", "standard")
"""Those that are trained here: TopK (Gao et al. 2025), and ReLU with an L1 penalty (Bricken et al. 2023)."""
CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"
SAE_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""SAELens' own files of an SAE."""


@dataclass(frozen=True)
class SaeSettings:
    """How an SAE is trained."""

    kind: str = "topk"
    """`topk`: the k strongest latents stay; `standard`: ReLU with an L1 penalty, steered to the L0 wanted."""
    tokens: int = 2_000_000
    """Activations that it sees, those seen again counted again."""
    batch: int = 1_024
    """Activations in a step."""
    lr: float = 4e-3
    """Learning rate, where it is highest."""
    seed: int = 0
    """Of the weights and of the order of the activations."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"kind is {self.kind!r}: choose one of {', '.join(KINDS)}")
        for name, lowest in (("tokens", 1), ("batch", 2), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 2**63:
                raise UserError(f"{name} is {value!r}: it must be a whole number, at least {lowest}")
        if not (isfinite(self.lr) and self.lr > 0):
            raise UserError(f"lr is {self.lr}: it must be a finite number above 0")
        if self.tokens < self.batch:
            raise UserError(f"tokens are {self.tokens:,}, less than one step of {self.batch:,}: raise --tokens")


@dataclass(frozen=True)
class SaeRecord:
    """What the manifest of an SAE says."""

    id: str
    """Its id, and its folder's name."""
    kind: str
    """SAELens' name of the architecture: `topk`, `standard`, `jumprelu`, `gated`."""
    width: int
    """Latents."""
    k: int | None
    """Latents that are active at a token, where their number is fixed; those wanted on average, of a standard SAE that
    was trained here; None where neither is known."""
    d_model: int
    """Width of the activations."""
    release: str | None
    """SAELens' release that it is from; None for one trained here."""
    sae_id: str | None
    """Its id within the release."""
    settings: SaeSettings | None
    """How it was trained here."""
    tokens: int | None
    """Activations that it saw here, those seen again counted again."""
    distinct_tokens: int | None
    """Different ones among them."""
    seconds: float | None
    """Time that training took, without the capture of the activations."""
    model: str
    """Name of the model: a Hub id, or a folder's name."""
    revision: str | None
    """Commit of the model on the Hub."""
    weights_sha256: str | None
    """Hash of the model's weights."""
    tokenizer_sha256: str
    """Hash of its tokenizer."""
    site: Site
    """Where in the model."""
    dictionary: str
    """Id of the dictionary that it was made beside, from the same tokens."""
    corpus: str
    """Id of the corpus."""
    cut: CutSettings
    """How its documents were cut."""
    holdout: bool
    """Whether every tenth document was kept out of training."""
    created: str
    """When, in UTC, ISO 8601."""
    versions: dict[str, str]
    """Versions of the packages that made it."""
    files: dict[str, str]
    """SHA-256 of SAELens' files."""

    @classmethod
    def parse(cls, sae_id: str, manifest: Any) -> "SaeRecord":
        """Read a manifest, which may come from a stranger. Raises DamagedError for one that is not an SAE's."""
        try:
            if manifest["id"] != sae_id:
                raise ValueError(f"it names another id, {manifest['id']!r}")
            files = {name: plain_text(manifest["files"][name]) for name in SAE_FILES}
            settings = None if manifest["settings"] is None else SaeSettings(**manifest["settings"])
            return cls(
                id=sae_id,
                kind=plain_text(manifest["kind"]),
                width=whole(manifest["width"], 1),
                k=None if manifest["k"] is None else whole(manifest["k"], 1),
                d_model=whole(manifest["d_model"], 1),
                release=_optional_text(manifest["release"]),
                sae_id=_optional_text(manifest["sae_id"]),
                settings=settings,
                tokens=None if manifest["tokens"] is None else whole(manifest["tokens"]),
                distinct_tokens=None if manifest["distinct_tokens"] is None else whole(manifest["distinct_tokens"]),
                seconds=None if manifest["seconds"] is None else _seconds(manifest["seconds"]),
                model=plain_text(manifest["model"]),
                revision=_optional_text(manifest["revision"]),
                weights_sha256=_optional_text(manifest["weights_sha256"]),
                tokenizer_sha256=plain_text(manifest["tokenizer_sha256"]),
                site=Site(whole(manifest["layer"]), plain_text(manifest["hook"])),
                dictionary=plain_text(manifest["dictionary"]),
                corpus=plain_text(manifest["corpus"]),
                cut=CutSettings(**manifest["cut"]),
                holdout=bool(manifest["holdout"]),
                created=plain_text(manifest["created"]),
                versions={plain_text(name): plain_text(version) for name, version in manifest["versions"].items()},
                files=files,
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, UserError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DamagedError(f"{MANIFEST_FILE} of SAE {sae_id} is damaged: {what}") from error

    def manifest(self) -> dict[str, Any]:
        """What `parse` reads, as values that JSON has."""
        said = asdict(self)
        site = said.pop("site")
        return {"format": 1, **said, **site}

    def is_of(self, record: DictionaryRecord) -> bool:
        """Whether it is of a dictionary's site: the same place in the same weights."""
        same_model = (self.model, self.weights_sha256, self.tokenizer_sha256) == (
            record.model,
            record.weights_sha256,
            record.tokenizer_sha256,
        )
        return same_model and self.site == record.site


def sae_ids(library: Library) -> list[str]:
    """Ids of a library's SAEs, damaged ones included, in alphabetical order."""
    if not library.saes.is_dir():
        return []
    return sorted(path.name for path in library.saes.iterdir() if path.is_dir() and is_id(path.name))


def sae_folder(library: Library, sae_id: str) -> Path:
    """Folder of an SAE. Raises UserError, naming those there are, for an id that is not here."""
    if not is_id(sae_id) or not (library.saes / sae_id).is_dir():
        known = ", ".join(sae_ids(library)[:10]) or "none; train one with itda sae"
        raise UserError(f"there is no SAE {sae_id[:200]!r} in this library: there is {known}")
    return library.saes / sae_id


def sae_record(library: Library, sae_id: str) -> SaeRecord:
    """What an SAE's manifest says. Raises UserError for an unknown id, DamagedError for a damaged one."""
    folder = sae_folder(library, sae_id)
    record = SaeRecord.parse(sae_id, read_json(folder / MANIFEST_FILE))
    for name in SAE_FILES:
        if not (folder / name).is_file():
            raise DamagedError(f"{name} of SAE {sae_id} is missing: delete the folder and train it again")
    return record


def sae_records(library: Library) -> list[SaeRecord | Damaged]:
    """All SAEs of a library, by model, site and id; damaged ones last."""
    sound: list[SaeRecord] = []
    damaged: list[Damaged] = []
    for sae_id in sae_ids(library):
        try:
            sound.append(sae_record(library, sae_id))
        except UserError as error:
            if (library.saes / sae_id).is_dir():  # or it was removed at this moment
                damaged.append(Damaged(sae_id, str(error)))
    sound.sort(key=lambda record: (record.model, record.site, record.id))
    return [*sound, *damaged]


def sae_quality(library: Library, record: SaeRecord) -> Quality | None:
    """The report on an SAE of a library; None while there is none.

    Raises:
        DamagedError: it is damaged, or of another SAE.
    """
    found = read_quality(sae_folder(library, record.id))
    if found is not None and (found.id, found.of_sha256) != (record.id, record.files[WEIGHTS_FILE]):
        raise DamagedError(f"{QUALITY_FILE} of {record.id} is of another SAE: delete it and measure again")
    return found


def verify_sae(library: Library, sae_id: str) -> Iterator[str]:
    """Problems of one SAE, a line each: files that are missing or changed since it was written, a damaged report."""
    folder = sae_folder(library, sae_id)
    try:
        record = SaeRecord.parse(sae_id, read_json(folder / MANIFEST_FILE))
    except DamagedError as error:
        yield str(error)
        return
    for name, digest in record.files.items():
        if not (folder / name).is_file():
            yield f"{name} is missing"
        elif sha256_of(folder / name) != digest:
            yield f"{name} is not the file that was written"
    try:
        sae_quality(library, record)
    except DamagedError as error:
        yield str(error)


def _seconds(value: Any) -> float:
    seconds = number(value)
    if seconds < 0:
        raise ValueError(f"{seconds:g} is not a time")
    return seconds


def _optional_text(value: Any) -> str | None:
    return None if value is None else plain_text(value)
