"""Access to a dictionary for export, with conversion of source positions.

Here a source's position counts a document's own tokens; an atom of a special token before them has a negative one.
The published format counts the special tokens too, so writing it requires the number that the tokenizer adds: it is
read from the manifest, or else from the tokenizer. A dictionary that was imported from that format without its model
keeps its positions: its manifest records that they count all tokens.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import read_json, sha256_of
from itda_core.common.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.common.settings import DEEPEST, DictionarySettings, WindowSettings
from itda_core.common.types import Site
from itda_core.common.validate import check_format, damaged, plain_text, whole
from itda_core.corpus.windows import special_tokens_before
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.mean import checked_mean
from itda_core.interop.external import LONGEST_CONTEXT, UNKNOWN, ExternalDictionary, checked_atoms, checked_sources
from itda_core.library.library import Library
from itda_core.library.manifest import MOST_SPECIAL, DictionaryManifest
from itda_core.models.locate import model_places
from itda_core.queries.atoms import Index

ABOUT_FILE = "about.json"
"""Metadata file of an export in Parquet or safetensors."""
ALL, OWN = "all", "own"
"""Tokens counted by the positions of sources: all tokens of a text, or its own."""
CODE_KINDS = {
    "token": np.int32,
    "document": np.int32,
    "position": np.int32,
    "atom": np.int32,
    "coefficient": np.float32,
}
"""Columns of codes with their types."""
FORMAT = 2
"""Latest version of the Parquet and safetensors export formats: 1, or 2 with a mean that is subtracted first."""
TOKENS_AT_ONCE = 1 << 15
"""Tokens whose codes are in memory at once."""


@dataclass(frozen=True)
class Exported:
    """A dictionary of a library, open for export."""

    record: DictionaryManifest
    """Its parsed manifest."""
    dictionary: Dictionary
    """Its atoms, with sources whose positions count a document's own tokens."""
    index: Index
    """Its index, with the origins of its atoms and its codes."""
    manifest: dict[str, Any]
    """Its raw manifest."""

    def codes(self) -> Iterator[pd.DataFrame]:
        """Yield the codes as tables with the columns of `Index.codes`.

        Raises DamagedError for invalid codes.
        """
        n = self.index.n_read
        for first in range(0, n, TOKENS_AT_ONCE):
            codes = self.index.codes(first, min(first + TOKENS_AT_ONCE, n))
            if codes.dtypes.to_dict() != CODE_KINDS or not self._are_codes(codes):
                raise DamagedError(f"the index of {self.record.id} holds codes of no atom: build the dictionary again")
            if len(codes):
                yield codes

    def _are_codes(self, codes: pd.DataFrame) -> bool:
        is_atom = codes["atom"].between(0, len(self.dictionary) - 1)
        return bool((is_atom & np.isfinite(codes["coefficient"])).all())

    def about(self, form: str) -> dict[str, Any]:
        """Return the metadata beside its tables, as `external_of` reads it."""
        record = self.record
        return {
            "format": f"itda {form} {FORMAT if self.dictionary.is_centered else 1}",
            "id": record.id,
            "model": record.model,
            "revision": record.revision,
            "layer": record.site.layer,
            "hook": record.site.hook,
            "corpus": record.corpus,
            "context": record.cut.context,
            "holdout": record.holdout,
            "prefix": record.prefix,
            "positions": ALL if self.manifest.get("positions") == ALL else OWN,
            "settings": record.settings.described(),
        }


def open_exported(library: Library, dictionary_id: str) -> Exported:
    """Open a dictionary for export.

    Raises UserError for an unknown id, DamagedError for a damaged one.
    """
    record = library.record(dictionary_id)
    folder = library.folder(dictionary_id)
    dictionary = Dictionary.load(folder)
    index = Index(library.index_path(dictionary_id))
    try:
        index.check_numbers()
        if len(dictionary) != index.n_atoms:
            raise DamagedError(
                f"{dictionary_id} has {len(dictionary)} atoms and an index of {index.n_atoms}: build it again"
            )
    except DamagedError:
        index.close()
        raise
    return Exported(record, dictionary, index, read_json(folder / MANIFEST_FILE))


def published_form(source: Exported, root: Path) -> ExternalDictionary:
    """Convert a dictionary to the sources and names of the published format.

    Args:
        source: the dictionary.
        root: the library's folder.

    Raises:
        UserError: the number of special tokens before a text is not recorded, and the tokenizer is not on this
            machine.
    """
    record, prefix = source.record, special_before(source, root)
    if record.settings.center == "mean":
        raise UserError(
            f"{record.id} subtracts a mean, which the published format has no place for: export it as safetensors or "
            "parquet, or build it with --center none"
        )
    own: dict[str, Any] = {"model": record.model, "corpus": record.corpus, "context": record.cut.context + prefix}
    imported = source.manifest.get("imported")
    if isinstance(imported, dict):  # its own metadata is written back
        names = ["model", "corpus", *(["context"] if imported.get("format") == "published" else [])]
        own |= {name: imported[name] for name in names if type(imported.get(name)) in (str, int)}
        if isinstance(imported.get("said"), dict):
            own["metadata"] = imported["said"]
    return ExternalDictionary(
        source.dictionary.atoms,
        moved(source.dictionary.sources, prefix),
        record.settings,
        record.site,
        holdout=record.holdout,
        **own,
    )


def special_before(source: Exported, root: Path) -> int:
    """Return the number of special tokens that the tokenizer adds before a text.

    Raises UserError as `published_form` does.
    """
    return _prefix_of(source.record, root) if source.record.prefix is None else source.record.prefix


def moved(sources: torch.Tensor, by: int) -> torch.Tensor:
    """Shift the positions of sources [n, 2] by `by` tokens.

    Unknown sources are unchanged.
    """
    is_known = (sources != torch.tensor(UNKNOWN)).any(dim=1)
    return sources + torch.stack([torch.zeros_like(is_known), is_known], dim=1).long() * by


def external_of(about: Any, tensors: dict[str, torch.Tensor], where: str) -> ExternalDictionary:
    """Build a dictionary from an export's metadata and tensors.

    The tensors are the atoms, their sources, the errors at admission, and the mean if there is centring.

    Raises UserError if the metadata or the tensors are invalid.
    """
    try:
        atoms = checked_atoms(tensors["atoms"], where)
        errors = tensors["admission_errors"]
        if errors.shape != (len(atoms),) or not errors.is_floating_point():
            raise ValueError("it has no error for each atom")
        if (errors.isinf() | (errors < 0)).any():
            raise ValueError("an atom was admitted by an error that cannot be")
        special = None if about.get("positions") == ALL else _special(about.get("prefix"))
        settings, mean = DictionarySettings(**about["settings"]), tensors.get("mean")
        if mean is not None and not mean.is_floating_point():
            raise ValueError("its mean is of no floating type")
        return ExternalDictionary(
            atoms,
            checked_sources(tensors["sources"], len(atoms), where, special or 0),
            settings,
            Site(whole(about["layer"], 0, DEEPEST), plain_text(about["hook"])),
            model=_name(about["model"]),
            corpus=_name(about["corpus"]),
            context=whole(about["context"], 1, LONGEST_CONTEXT),
            prefix=None if about.get("positions") == ALL else 0,
            special=special,
            holdout=about["holdout"] is True,
            errors=errors.to(torch.float64),
            mean=checked_mean(mean, settings, atoms.shape[1]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UserError) as error:
        subject = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{where} cannot be used: {subject}") from error


def read_about(folder: Path, form: str) -> Any:
    """Read the metadata of an export in a given format.

    Raises DamagedError, or NewerError for a later version of the format.
    """
    about = read_json(folder / ABOUT_FILE)
    subject, remedy = f"{ABOUT_FILE} of {folder.name!r}", "export the dictionary again"
    name, _, number = str(about.get("format") if isinstance(about, dict) else "").rpartition(" ")
    if name != f"itda {form}":
        raise damaged(subject, f"it is of no format {form}", remedy)
    check_format(int(number) if number.isdecimal() and len(number) < 10 else number, FORMAT, subject, remedy)
    return about


def read_folder(folder: Path) -> ExternalDictionary:
    """Read a dictionary from a folder with `manifest.json` and its atoms.

    This is the layout of a library and of a repository on the Hub.

    Raises UserError if they cannot be read, or if the atoms do not match their hash in the manifest.
    """
    manifest = read_json(folder / MANIFEST_FILE)
    try:
        cut, revision = WindowSettings(**manifest["cut"]), manifest["revision"]
        about = {**manifest, "context": cut.context}
        named = manifest.get("files", {}).get(ATOMS_FILE)
    except (KeyError, TypeError, AttributeError, UserError) as error:
        raise DamagedError(f"{MANIFEST_FILE} of {folder.name!r} is not a dictionary's: {error}") from error
    path = folder / ATOMS_FILE
    if named is not None and path.is_file() and named != sha256_of(path):
        raise DamagedError(f"{ATOMS_FILE} of {folder.name!r} is not the file that its manifest names: it is refused")
    tensors = Dictionary.load(folder).tensors()
    metadata = {"revision": revision} if isinstance(revision, str) else {}
    return replace(external_of(about, tensors, ATOMS_FILE), metadata=metadata)


def _special(value: Any) -> int | None:
    return None if value is None else whole(value, 0, MOST_SPECIAL)


def _name(value: Any) -> str:
    if not plain_text(value):
        raise ValueError("a name is empty")
    return value


def _prefix_of(record: DictionaryManifest, root: Path) -> int:
    """Return the number of special tokens that the tokenizer adds before a text."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    for place in model_places(record, root):
        where = {"revision": record.revision} if record.revision else {}
        tokenizer = AutoTokenizer.from_pretrained(
            place, use_fast=True, trust_remote_code=False, local_files_only=True, **where
        )
        plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        plain.no_padding()
        plain.no_truncation()
        if hashlib.sha256(plain.to_str().encode()).hexdigest() == record.tokenizer_sha256:
            return special_tokens_before(plain)
    raise UserError(
        f"the tokenizer of {record.model} on this machine is not the one that {record.id} was built with, and "
        "that format counts its special tokens: bring that model back"
    )
