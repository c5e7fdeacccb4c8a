"""Published format: `atoms.pt`, `atom_indices.pt` and `metadata.yaml` in a folder.

This is the format of the paper's code. `atoms.pt` is [n_atoms, d_model] float32 of unit norm; `atom_indices.pt` is
[n_atoms, 2] int64, the ordinal of the text in the stream of texts and the position of the token in it, special tokens
counted; (−1, −1) if unknown. The metadata are the trainer's settings: `lm_name`, `layer`, `k` (the L0),
`loss_threshold`, `dataset`, `seq_len` and so on.

The two tensors are the only files of this project in torch's own format, which is a pickle. They are loaded with
`weights_only`, which runs none of its code. Settings without a field in the format (the unit of the threshold, the
scan) are written under additional names, which the published code ignores; a file without them has the published
settings.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.settings import DEEPEST, DictionarySettings
from itda_core.common.text import has_half_characters, one_line
from itda_core.common.types import HOOKS, Site
from itda_core.common.validate import whole
from itda_core.interop.external import LONGEST_CONTEXT, ExternalDictionary, checked_atoms, checked_sources

ATOMS_FILE, INDICES_FILE, METADATA_FILE = "atoms.pt", "atom_indices.pt", "metadata.yaml"
_FILES = (ATOMS_FILE, INDICES_FILE, METADATA_FILE)
_LONGEST_METADATA = 64 * 1024
_LONGEST_TEXT = 1_000
_DEFAULT_CONTEXT = 128
_PUBLISHED = {"error": "cosine", "scan": "batch", "init": "frequent", "method": "matching"}
"""Behaviour of the published code, for settings that a file does not record."""


def is_published(folder: Path) -> bool:
    """Return whether a folder holds a dictionary in the published format.

    Only the file names are checked.
    """
    return (folder / ATOMS_FILE).is_file()


def read_published(folder: Path) -> ExternalDictionary:
    """Read a dictionary in the published format.

    Raises:
        UserError: a file is missing, cannot be read with weights only, or has content that the format does not allow.
    """
    for name in _FILES:
        if not (folder / name).is_file():
            raise UserError(f"{str(folder)!r} has no {name}: the published format is {', '.join(_FILES)}")
    metadata = _read_metadata(folder / METADATA_FILE)
    atoms = checked_atoms(_read_tensor(folder / ATOMS_FILE), ATOMS_FILE)
    sources = checked_sources(_read_tensor(folder / INDICES_FILE), len(atoms), INDICES_FILE)
    most = metadata.get("max_dict_size") or None
    try:
        settings = DictionarySettings(
            l0=metadata.get("k", DictionarySettings.l0),
            threshold=float(metadata.get("loss_threshold", 0.0)),
            max_atoms=most if most is None or most > 0 else None,
            **{name: metadata.get(name, value) for name, value in _PUBLISHED.items()},
        )
        hook = metadata.get("submodule_name") or "resid"
        if hook not in HOOKS:
            raise UserError(f"submodule_name is {hook!r}, which is no place known here: {', '.join(HOOKS)}")
        return ExternalDictionary(
            atoms,
            sources,
            settings,
            Site(_whole(metadata, "layer", 0, DEEPEST), hook),
            model=_text(metadata, "lm_name"),
            corpus=_text(metadata, "dataset"),
            context=_whole(metadata, "seq_len", 1, LONGEST_CONTEXT) if "seq_len" in metadata else _DEFAULT_CONTEXT,
            holdout=metadata.get("holdout") is True,
            metadata=metadata,
        )
    except (TypeError, ValueError, OverflowError, UserError) as error:
        raise UserError(f"{METADATA_FILE} of {folder.name!r} cannot be used: {one_line(str(error))}") from error


def write_published(foreign: ExternalDictionary, folder: Path) -> None:
    """Write the three files into an existing folder.

    Raises OSError if they cannot be written.
    """
    settings = foreign.settings
    metadata = {
        **foreign.metadata,
        "lm_name": foreign.model,
        "layer": foreign.site.layer,
        "submodule_name": None if foreign.site.hook == "resid" else foreign.site.hook,
        "k": settings.l0,
        "loss_threshold": settings.threshold,
        "activation_dim": foreign.atoms.shape[1],
        "dataset": foreign.corpus,
        "seq_len": foreign.context,
        "max_dict_size": settings.max_atoms or 0,
        "holdout": foreign.holdout,
        **{name: getattr(settings, name) for name in _PUBLISHED},
    }
    text = yaml.safe_dump(metadata, sort_keys=True, allow_unicode=True)
    (folder / METADATA_FILE).write_text(text, encoding="utf-8")
    torch.save(foreign.atoms, folder / ATOMS_FILE)
    torch.save(foreign.sources, folder / INDICES_FILE)


def _read_tensor(path: Path) -> torch.Tensor:
    """Read a tensor in torch's format without running code from it.

    A tensor that is larger than its file is rejected.
    """
    try:
        _check_archive(path)
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an untrusted pickle can raise any exception
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path.name} is not a tensor that can be read without running what is in it ({one_line(line)[:160]}): "
            "it is refused"
        ) from error
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_meta:
        raise UserError(f"{path.name} holds {type(tensor).__name__} where a plain tensor was expected")
    tensor = tensor.detach()
    if tensor.numel() * tensor.element_size() > path.stat().st_size:  # strides can expand one value to any shape
        raise UserError(f"{path.name} holds a tensor {list(tensor.shape)} that is larger than the file: it is refused")
    return tensor


def _check_archive(path: Path) -> None:
    """Check that an archive is uncompressed, as torch writes it.

    torch unpacks the archives that it reads, whatever their unpacked size.

    Raises ValueError or zipfile.BadZipFile for any other archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("it holds more than its own size")


class _Plain(yaml.SafeLoader):
    """YAML loader of plain values, without custom tags and aliases.

    An alias can expand to any number of values.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Reject an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias, which this format never needs")
        return super().compose_node(parent, index)


def _read_metadata(path: Path) -> dict[str, Any]:
    """Read the plain values of the metadata, by name.

    Other values are ignored.
    """
    try:
        if path.stat().st_size > _LONGEST_METADATA:
            raise ValueError(f"it has more than {_LONGEST_METADATA:,} bytes")
        metadata = yaml.load(path.read_text(encoding="utf-8"), _Plain)
        if not isinstance(metadata, dict):
            raise ValueError("it is no list of names and values")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise DamagedError(f"{path.name} of {path.parent.name!r} cannot be read: {one_line(line)[:200]}") from error
    return {name: value for name, value in metadata.items() if isinstance(name, str) and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT and not has_half_characters(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) < 2**63)


def _whole(metadata: dict[str, Any], name: str, lowest: int, highest: int) -> int:
    try:
        return whole(metadata.get(name), lowest, highest)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _text(metadata: dict[str, Any], name: str) -> str:
    value = metadata.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"it names no {name}")
    return value
