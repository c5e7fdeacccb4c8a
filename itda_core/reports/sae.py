"""The sparse autoencoders that a library keeps beside its dictionaries: what is asked of one, what its manifest says.

Nothing here imports torch or SAELens: pages read records. `itda_core.evaluation.sae.run` makes and loads SAEs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_changed, is_file, problem_of_file, read_json, unreadable
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.settings import DEEPEST, WindowSettings
from itda_core.common.types import Site
from itda_core.common.validate import Count, Finite, Positive, check_format, damaged, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary, is_id
from itda_core.reports.quality import QUALITY_FILE, Quality, read_quality

_FORMAT = 1

SAE_KINDS = ("topk", "standard")
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
        if self.kind not in SAE_KINDS:
            raise UserError(f"kind is {self.kind!r}: choose one of {', '.join(SAE_KINDS)}")
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
    width: Positive
    """Latents."""
    k: Positive | None
    """Latents that are active at a token, where their number is fixed; those wanted on average, of a standard SAE that
    was trained here; None where neither is known."""
    d_model: Positive
    """Width of the activations."""
    release: str | None
    """SAELens' release that it is from; None for one trained here."""
    sae_id: str | None
    """Its id within the release."""
    settings: SaeSettings | None
    """How it was trained here."""
    tokens: Count | None
    """Activations that it saw here, those seen again counted again."""
    distinct_tokens: Count | None
    """Different ones among them."""
    seconds: Annotated[Finite, Field(ge=0)] | None
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
    cut: WindowSettings
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
        what, remedy = f"{MANIFEST_FILE} of SAE {sae_id}", "delete its folder and train or fetch it again"
        if isinstance(manifest, dict):
            check_format(manifest.get("format"), _FORMAT, what, remedy)
            manifest = manifest | {"site": {name: manifest.get(name) for name in ("layer", "hook")}}
        record = parse(cls, manifest, what, remedy)
        if record.id != sae_id:
            raise damaged(what, f"it names another id, {record.id[:80]!r}", remedy)
        if record.site.layer > DEEPEST:
            raise damaged(what, "no model has its layer", remedy)
        if missing := set(SAE_FILES) - record.files.keys():
            raise damaged(what, f"it has no SHA-256 of {min(missing)}", remedy)
        return replace(record, files={name: record.files[name] for name in SAE_FILES})

    def manifest(self) -> dict[str, Any]:
        """What `parse` reads, as values that JSON has."""
        said = asdict(self)
        site = said.pop("site")
        return {"format": _FORMAT, **said, **site}

    def is_of(self, record: DictionaryManifest) -> bool:
        """Whether it is of a dictionary's site: the same place in the same weights."""
        same_model = (self.model, self.weights_sha256, self.tokenizer_sha256) == (
            record.model,
            record.weights_sha256,
            record.tokenizer_sha256,
        )
        return same_model and self.site == record.site


def sae_ids(library: Library) -> list[str]:
    """Ids of a library's SAEs, damaged ones included, in alphabetical order."""
    try:
        paths = list(library.saes.iterdir()) if library.saes.is_dir() else []
        return sorted(path.name for path in paths if path.is_dir() and is_id(path.name))
    except OSError as error:
        raise unreadable(library.saes, error) from error


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
        if not is_file(folder / name):
            raise DamagedError(f"{name} of SAE {sae_id} is missing: delete the folder and train it again")
    return record


def sae_records(library: Library) -> list[SaeRecord | InvalidDictionary]:
    """All SAEs of a library, by model, site and id; damaged ones last."""
    sound: list[SaeRecord] = []
    unread: list[InvalidDictionary] = []
    for sae_id in sae_ids(library):
        try:
            sound.append(sae_record(library, sae_id))
        except UserError as error:
            if (library.saes / sae_id).is_dir():  # or it was removed at this moment
                unread.append(InvalidDictionary.of(sae_id, error))
    sound.sort(key=lambda record: (record.model, record.site, record.id))
    return [*sound, *unread]


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
        manifest = read_json(folder / MANIFEST_FILE)
        record = SaeRecord.parse(sae_id, manifest)
    except UserError as error:
        yield str(error)
        return
    if is_changed(manifest):
        yield f"{MANIFEST_FILE} is not as it was written"
    for name, digest in record.files.items():
        if problem := problem_of_file(folder / name, digest):
            yield problem
    try:
        if sae_quality(library, record) is not None and is_changed(read_json(folder / QUALITY_FILE)):
            yield f"{QUALITY_FILE} is not as it was written: delete it and measure again"
    except UserError as error:
        yield str(error)
