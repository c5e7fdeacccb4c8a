"""Manifests of a library's sparse autoencoders (SAEs).

A library stores them beside its dictionaries. Nothing here imports torch or SAELens, since pages read records;
`itda_core.evaluation.sae.run` makes and loads SAEs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import is_changed, is_file, problem_of_file, read_json, unreadable
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.settings import DEEPEST, SaeSettings, WindowSettings
from itda_core.common.types import Site
from itda_core.common.validate import Count, Finite, Positive, check_format, damaged, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary, is_id
from itda_core.reports.quality import QUALITY_FILE, Quality, read_quality

_FORMAT = 1

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"
SAE_FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""Files of an SAE in SAELens' own format."""


@dataclass(frozen=True)
class SaeRecord:
    """Manifest of an SAE."""

    id: str
    """Id of the SAE, which is also the name of its folder."""
    kind: str
    """SAELens' name of the architecture: `topk`, `standard`, `jumprelu`, `gated`."""
    width: Positive
    """Number of latents."""
    k: Positive | None
    """Number of active latents per token if it is fixed; the target mean for a standard SAE that was trained here; None
    if neither is known."""
    d_model: Positive
    """Width of the activations."""
    release: str | None
    """SAELens release that it was taken from; None for one trained here."""
    sae_id: str | None
    """Id within the release; None for one trained here."""
    settings: SaeSettings | None
    """Training settings; None for one that was not trained here."""
    tokens: Count | None
    """Number of activations in training here; repeated ones count each time."""
    distinct_tokens: Count | None
    """Number of distinct activations among them."""
    seconds: Annotated[Finite, Field(ge=0)] | None
    """Duration of training, without the capture of the activations."""
    model: str
    """Name of the model: a Hub id, or the name of a folder."""
    revision: str | None
    """Commit of the model on the Hub."""
    weights_sha256: str | None
    """Hash of the model's weights."""
    tokenizer_sha256: str
    """Hash of the model's tokenizer."""
    site: Site
    """Site in the model."""
    dictionary: str
    """Id of the dictionary that it was made for, from the same tokens."""
    corpus: str
    """Id of the corpus."""
    cut: WindowSettings
    """Settings of the windows into which the documents were cut."""
    holdout: bool
    """True if every tenth document was held out of training."""
    created: str
    """Time of creation, in UTC (ISO 8601)."""
    versions: dict[str, str]
    """Versions of the packages that made it."""
    files: dict[str, str]
    """SHA-256 of each of SAE_FILES."""

    @classmethod
    def parse(cls, sae_id: str, manifest: Any) -> "SaeRecord":
        """Parse a manifest, which may be untrusted.

        Raises DamagedError for one that is not an SAE's, or NewerError for one of a later format.
        """
        subject, remedy = f"{MANIFEST_FILE} of SAE {sae_id}", "delete its folder and train or fetch it again"
        if isinstance(manifest, dict):
            check_format(manifest.get("format"), _FORMAT, subject, remedy)
            manifest = manifest | {"site": {name: manifest.get(name) for name in ("layer", "hook")}}
        record = parse(cls, manifest, subject, remedy)
        if record.id != sae_id:
            raise damaged(subject, f"it names another id, {record.id[:80]!r}", remedy)
        if record.site.layer > DEEPEST:
            raise damaged(subject, "no model has its layer", remedy)
        if missing := set(SAE_FILES) - record.files.keys():
            raise damaged(subject, f"it has no SHA-256 of {min(missing)}", remedy)
        return replace(record, files={name: record.files[name] for name in SAE_FILES})

    def manifest(self) -> dict[str, Any]:
        """Return the manifest that `parse` reads, as JSON-compatible values."""
        values = asdict(self)
        site = values.pop("site")
        return {"format": _FORMAT, **values, **site}

    def is_of(self, record: DictionaryManifest) -> bool:
        """Return whether it is for a dictionary's site.

        That is the same position in the same weights.
        """
        same_model = (self.model, self.weights_sha256, self.tokenizer_sha256) == (
            record.model,
            record.weights_sha256,
            record.tokenizer_sha256,
        )
        return same_model and self.site == record.site


def sae_ids(library: Library) -> list[str]:
    """Return the ids of a library's SAEs, in alphabetical order.

    Damaged ones are included.
    """
    try:
        paths = list(library.saes.iterdir()) if library.saes.is_dir() else []
        return sorted(path.name for path in paths if path.is_dir() and is_id(path.name))
    except OSError as error:
        raise unreadable(library.saes, error) from error


def sae_folder(library: Library, sae_id: str) -> Path:
    """Return the folder of an SAE.

    Raises UserError, which names the available SAEs, for an unknown id.
    """
    if not is_id(sae_id) or not (library.saes / sae_id).is_dir():
        known = ", ".join(sae_ids(library)[:10]) or "none; train one with itda sae"
        raise UserError(f"there is no SAE {sae_id[:200]!r} in this library: there is {known}")
    return library.saes / sae_id


def sae_record(library: Library, sae_id: str) -> SaeRecord:
    """Read the manifest of an SAE.

    Raises UserError for an unknown id, DamagedError for a damaged SAE.
    """
    folder = sae_folder(library, sae_id)
    record = SaeRecord.parse(sae_id, read_json(folder / MANIFEST_FILE))
    for name in SAE_FILES:
        if not is_file(folder / name):
            raise DamagedError(f"{name} of SAE {sae_id} is missing: delete the folder and train it again")
    return record


def sae_records(library: Library) -> list[SaeRecord | InvalidDictionary]:
    """Return all SAEs of a library, ordered by model, site and id; damaged ones last."""
    sound: list[SaeRecord] = []
    unread: list[InvalidDictionary] = []
    for sae_id in sae_ids(library):
        try:
            sound.append(sae_record(library, sae_id))
        except UserError as error:
            if (library.saes / sae_id).is_dir():  # otherwise it has just been removed
                unread.append(InvalidDictionary.of(sae_id, error))
    sound.sort(key=lambda record: (record.model, record.site, record.id))
    return [*sound, *unread]


def sae_quality(library: Library, record: SaeRecord) -> Quality | None:
    """Return the report on an SAE of a library, or None if there is none.

    Raises:
        DamagedError: it is damaged, or of another SAE.
    """
    found = read_quality(sae_folder(library, record.id))
    if found is not None and (found.id, found.of_sha256) != (record.id, record.files[WEIGHTS_FILE]):
        raise DamagedError(f"{QUALITY_FILE} of {record.id} is of another SAE: delete it and measure again")
    return found


def verify_sae(library: Library, sae_id: str) -> Iterator[str]:
    """Yield the problems of one SAE, a line each.

    These are files that are missing or changed since it was written, and a damaged report.
    """
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
