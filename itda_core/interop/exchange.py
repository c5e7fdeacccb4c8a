"""A dictionary of a library as other tools want it, and the sources that they count differently.

Here a source's position counts a document's own tokens. The published format counts the special tokens before them too,
so writing it takes how many the tokenizer puts: the manifest says it, or else the tokenizer is asked.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from itda_core.config import CutSettings, DictionarySettings
from itda_core.dictionary import Dictionary
from itda_core.files import read_json
from itda_core.interop.foreign import UNKNOWN, Foreign, checked_atoms, checked_sources
from itda_core.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.library import DictionaryRecord, Library
from itda_core.model_places import model_places
from itda_core.queries import Index
from itda_core.types import DamagedError, Site, UserError
from itda_core.windows import special_tokens_before

ABOUT_FILE = "about.json"
"""What an export in Parquet or safetensors says of itself."""
_MOST_SPECIAL = 1000  # tokens that a tokenizer may put before a text
TOKENS_AT_ONCE = 1 << 15
"""Tokens whose codes are in memory at once."""


@dataclass(frozen=True)
class Exported:
    """A dictionary of a library, open to be written in another format."""

    record: DictionaryRecord
    """What its manifest says."""
    dictionary: Dictionary
    """Its atoms, with sources whose positions count a document's own tokens."""
    index: Index
    """Where its atoms came from, and its codes."""
    manifest: dict[str, Any]
    """Its manifest, as it is."""

    def codes(self) -> Iterator[Any]:
        """The codes, table after table: the columns of `Index.codes`."""
        n = self.index.n_read
        for first in range(0, n, TOKENS_AT_ONCE):
            yield self.index.codes(first, min(first + TOKENS_AT_ONCE, n))

    def about(self, form: str) -> dict[str, Any]:
        """What is said of it beside its tables, from which `foreign_of` makes a dictionary again."""
        record = self.record
        return {
            "format": f"itda {form} 1",
            "id": record.id,
            "model": record.model,
            "revision": record.revision,
            "layer": record.site.layer,
            "hook": record.site.hook,
            "corpus": record.corpus,
            "context": record.cut.context,
            "holdout": record.holdout,
            "prefix": self.manifest.get("prefix"),
            "settings": asdict(record.settings),
        }


def open_exported(library: Library, dictionary_id: str) -> Exported:
    """Open a dictionary to write it elsewhere. Raises UserError for an unknown id, DamagedError for a damaged one."""
    record = library.record(dictionary_id)
    folder = library.folder(dictionary_id)
    dictionary = Dictionary.load(folder)
    index = Index(library.index_path(dictionary_id))
    if len(dictionary) != index.n_atoms:
        index.close()
        raise DamagedError(
            f"{dictionary_id} has {len(dictionary)} atoms and an index of {index.n_atoms}: build it again"
        )
    return Exported(record, dictionary, index, read_json(folder / MANIFEST_FILE))


def published_form(source: Exported, root: Path) -> Foreign:
    """A dictionary with the sources and names of the published format.

    Args:
        source: the dictionary.
        root: the library's folder.

    Raises:
        UserError: how many special tokens stand before a text is not said, and the tokenizer is not on this machine.
    """
    record, prefix = source.record, _special(source.manifest.get("prefix"))
    if prefix is None:
        prefix = _prefix_of(record, root)
    own: dict[str, Any] = {"model": record.model, "corpus": record.corpus, "context": record.cut.context + prefix}
    imported = source.manifest.get("imported")
    if isinstance(imported, dict):  # what it said of itself is given back
        own |= {name: imported[name] for name in (*own, "said") if type(imported.get(name)) in (str, int, dict)}
    return Foreign(
        source.dictionary.atoms,
        moved(source.dictionary.sources, prefix),
        record.settings,
        record.site,
        holdout=record.holdout,
        **own,
    )


def moved(sources: torch.Tensor, by: int) -> torch.Tensor:
    """[n, 2] sources with positions that count `by` tokens more; those that are not known stay so."""
    is_known = (sources != torch.tensor(UNKNOWN)).any(dim=1)
    return sources + torch.stack([torch.zeros_like(is_known), is_known], dim=1).long() * by


def foreign_of(about: Any, tensors: dict[str, torch.Tensor], where: str) -> Foreign:
    """A dictionary out of an export's `about` and its tensors: atoms, sources, and the errors that admitted them.

    Raises UserError where either is not what an export says.
    """
    try:
        atoms = checked_atoms(tensors["atoms"], where)
        errors = tensors["admission_errors"]
        if errors.shape != (len(atoms),) or not errors.is_floating_point():
            raise ValueError("it has no error for each atom")
        return Foreign(
            atoms,
            checked_sources(tensors["sources"], len(atoms), where),
            DictionarySettings(**about["settings"]),
            Site(int(about["layer"]), about["hook"]),
            model=_text(about["model"]),
            corpus=_text(about["corpus"]),
            context=int(about["context"]),
            prefix=0,
            special=_special(about.get("prefix")),
            holdout=about["holdout"] is True,
            errors=errors.to(torch.float64),
        )
    except (KeyError, TypeError, ValueError, OverflowError, UserError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{where} cannot be used: {what}") from error


def read_folder(folder: Path) -> Foreign:
    """A dictionary out of a folder such as a library, or a repository of the Hub, has: `manifest.json` and its atoms.

    Raises UserError where they cannot be read.
    """
    manifest, dictionary = read_json(folder / MANIFEST_FILE), Dictionary.load(folder)
    tensors = {
        "atoms": dictionary.atoms,
        "sources": dictionary.sources,
        "admission_errors": dictionary.admission_errors,
    }
    try:
        cut, revision = CutSettings(**manifest["cut"]), manifest["revision"]
        about = {**manifest, "context": cut.context}
    except (KeyError, TypeError, UserError) as error:
        raise DamagedError(f"{MANIFEST_FILE} of {folder.name!r} is not a dictionary's: {error}") from error
    said = {"revision": revision} if isinstance(revision, str) else {}
    return replace(foreign_of(about, tensors, ATOMS_FILE), said=said)


def _special(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_SPECIAL
    return value if is_count else None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{str(value)[:40]!r} is no name")
    return value


def _prefix_of(record: DictionaryRecord, root: Path) -> int:
    """Special tokens that a dictionary's tokenizer puts before a text."""
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
        f"the tokenizer of {record.model} on this machine is not the one that {record.id} was built with, and the "
        "published format counts its special tokens: bring that model back"
    )
