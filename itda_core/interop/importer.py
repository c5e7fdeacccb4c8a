"""Import another tool's dictionary into a library.

Without a model and a corpus only its atoms are imported, and their mutual similarity is known. With both, the corpus
is encoded with it, so that it can be browsed like one that was built here. Its sources are then checked against the
model: the source of an atom is confirmed only if the model's activation at that token is the atom. All other atoms,
from special tokens, from padding, or from texts that were not read or are different, have an unknown source. The
file's metadata is stored in the manifest and written back on export.
"""

import hashlib
import json
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from itda_core.build.build import add_maps
from itda_core.common.errors import UserError
from itda_core.common.files import sha256_of, short_hash, slug, write_sealed
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.common.settings import WindowSettings
from itda_core.common.versions import versions
from itda_core.corpus.store import Corpus, ingest
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import special_tokens_before
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import variance_explained
from itda_core.index.writer import IndexWriter
from itda_core.interop.copy import adopt
from itda_core.interop.encode import Encoding, Reading
from itda_core.interop.external import UNKNOWN, ExternalDictionary, without_place
from itda_core.interop.formats.manifest import ABOUT_FILE, ALL, OWN, moved, read_folder
from itda_core.interop.formats.parquet import ATOMS_TABLE, read_tables
from itda_core.interop.formats.published import is_published, read_published
from itda_core.interop.formats.safetensors import TENSORS_FILE, read_tensors
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.staging import part_of, place_finished
from itda_core.models.model import Model, load_model
from itda_core.queries.atoms import Index

_STAGING_FILE = "staging.duckdb"


class Imported(NamedTuple):
    """Result of an import."""

    id: str
    """Its id in the library."""
    atoms: int
    """Number of atoms."""
    named: int
    """Number of atoms whose source is recorded in the file."""
    confirmed: int
    """Number of atoms that equal the model's activation at the recorded source, or whose source was already
    confirmed."""


def read_any(folder: Path) -> tuple[str, ExternalDictionary]:
    """Read a dictionary from a folder in any known format.

    Returns the name of the format and the dictionary. Raises UserError for an unknown format.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {str(folder)!r}: name one that holds a dictionary")
    if is_published(folder):
        return "published", read_published(folder)
    if (folder / ABOUT_FILE).is_file() and (folder / ATOMS_TABLE).is_file():
        return "parquet", read_tables(folder)
    if (folder / ABOUT_FILE).is_file() and (folder / TENSORS_FILE).is_file():
        return "safetensors", read_tensors(folder)
    if (folder / MANIFEST_FILE).is_file() and (folder / ATOMS_FILE).is_file():
        return "library", read_folder(folder)
    raise UserError(
        f"{str(folder)!r} holds no dictionary that is known here: one has atoms.pt (published), atoms.parquet, "
        f"{TENSORS_FILE} or {ATOMS_FILE}"
    )


def import_folder(library: Library, folder: Path, reading: Reading | None, job: Job) -> Imported:
    """Import the dictionary of a folder into a library.

    A dictionary that is already complete there is not imported again.

    Args:
        library: the library.
        folder: in any format that `read_any` knows.
        reading: model and corpus to encode with it; None imports its atoms alone.
        job: receives progress.

    Raises:
        UserError: the folder holds no usable dictionary, or model and corpus are not available or do not fit.
    """
    job.stage(f"reading {folder.name}", unit="")
    form, foreign = read_any(folder)
    if form == "library" and reading is None and (folder / INDEX_FILE).is_file():
        adopted = adopt(library, folder)
        job.finished(adopted)
        add_maps(library, [adopted], job)
        return report_of(library, adopted)
    if reading is None:
        return _Import(library, form, foreign, job).atoms_alone()
    job.stage(f"loading {reading.model}", unit="")
    model = load_model(reading.model, reading.revision, reading.device, reading.dtype)
    if model.d_model != foreign.atoms.shape[1]:
        raise UserError(
            f"its atoms have width {foreign.atoms.shape[1]:,} and activations of {model.name} {model.d_model:,}: "
            f"name its own model with --model (it names {foreign.model})"
        )
    model.module(foreign.site)
    prefix = special_tokens_before(model.tokenizer)
    is_before = _is_named(foreign.sources) & (foreign.sources[:, 1] < -prefix)
    if is_before.any():
        raise UserError(
            f"its sources count more special tokens before a text than {model.name} has: name its own model with "
            f"--model (it names {foreign.model})"
        )
    context = reading.context or max(2, foreign.context - (prefix if foreign.prefix is None else 0))
    job.stage(f"reading {reading.corpus.spec}", None, "documents")
    corpus = ingest(reading.corpus, WindowSettings(context, "first", reading.keep_first), library.corpora, job.reached)
    return _Import(library, form, foreign, job).read_with(model, corpus, reading, prefix)


class _Import:
    """One dictionary being imported into a library."""

    def __init__(self, library: Library, form: str, foreign: ExternalDictionary, job: Job) -> None:
        self._library, self._form, self._foreign, self._job = library, form, foreign, job
        self._started = time.perf_counter()

    def atoms_alone(self) -> Imported:
        """Import the atoms only, with an index without text."""
        foreign = self._foreign
        model = without_place(foreign.model)
        identity = {
            "model": model,
            "revision": None,
            "weights_sha256": None,
            "tokenizer_sha256": "",
            "dtype": "float32",
            "corpus": without_place(foreign.corpus),
            "cut": asdict(WindowSettings(max(2, foreign.context))),
            "holdout": foreign.holdout,
            # Positions that count special tokens are kept, as if there were no special tokens; `positions`
            # records this.
            "prefix": 0 if foreign.prefix is None else foreign.special,
        }
        return self._place(model, identity, lambda part: self._write(part, identity, None, 0))

    def read_with(self, model: Model, corpus: Corpus, reading: Reading, prefix: int) -> Imported:
        """Encode a corpus with the dictionary and check its sources against the model."""
        identity = {
            "model": model.name,
            "revision": model.revision,
            "weights_sha256": model.weights_sha256(),
            "tokenizer_sha256": model.tokenizer_sha256(),
            "dtype": reading.dtype,
            "corpus": corpus.id,
            "cut": asdict(corpus.cut),
            "tokens": reading.tokens,
            "batch_windows": reading.batch_windows,
            "half_precision": False,
            "holdout": self._foreign.holdout,
            "prefix": prefix,
        }

        def write(part: Path) -> None:
            self._write(part, identity, Encoding(model, corpus, reading, self._foreign.holdout, self._library), prefix)

        return self._place(model.name, identity, write)

    def _place(self, model: str, identity: dict[str, Any], write: Any) -> Imported:
        foreign = self._foreign
        mean = b"" if foreign.mean is None else foreign.mean.numpy().tobytes()
        atoms = hashlib.sha256(foreign.atoms.numpy().tobytes() + foreign.sources.numpy().tobytes() + mean).hexdigest()
        settings = foreign.settings.described() | {"recipe": foreign.settings.recipe}  # as in ids of earlier imports
        described = json.dumps([identity, atoms, settings, foreign.metadata], sort_keys=True)
        digest = short_hash(described)
        dictionary_id = f"{slug(model)}-l{foreign.site.layer}-{foreign.site.hook}-{digest}"
        self._id = dictionary_id
        with build_lock(self._library.root, dictionary_id):
            place_finished(self._library, dictionary_id)
            if dictionary_id not in self._library.ids() or any(self._library.verify(dictionary_id)):
                part = part_of(self._library, dictionary_id)
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                try:
                    write(part)
                except BaseException:
                    shutil.rmtree(part, ignore_errors=True)
                    raise
                place_finished(self._library, dictionary_id)
            self._job.finished(dictionary_id)
        add_maps(self._library, [dictionary_id], self._job)
        return report_of(self._library, dictionary_id)

    def _write(self, part: Path, identity: dict[str, Any], encoding: "Encoding | None", prefix: int) -> None:
        foreign = self._foreign
        sources = moved(foreign.sources, -prefix) if foreign.prefix is None else foreign.sources
        dictionary = Dictionary(foreign.atoms, sources, foreign.settings, foreign.errors, mean=foreign.mean)
        writer = IndexWriter(part / _STAGING_FILE)
        if encoding is None:
            table, documents, known = TokenTable.of([], False, self._library.root), iter(()), _none_known(dictionary)
            figures = {"n_layers": 0, "n_tokens": 0, "relative_error": None, "measured_tokens": 0}
        else:
            known = encoding.run(dictionary, foreign.site, writer, self._job)
            table, documents = encoding.table, encoding.corpus.documents()
            error, measured = writer.mean_error(table)
            figures = {
                "n_layers": encoding.model.n_layers,
                "n_tokens": table.n_captured,
                "relative_error": error,
                "measured_tokens": measured,
                "variance_explained": variance_explained(writer.sums()),
            }
        self._job.stage("indexing", 1, "dictionaries")
        shown = Dictionary(dictionary.atoms, known, foreign.settings, dictionary.admission_errors, mean=foreign.mean)
        norms = writer.norms(shown, table)
        writer.write(part / INDEX_FILE, shown, table, documents)
        writer.close()
        dictionary.write_atoms(part)
        manifest = {
            **dictionary.describe(),
            **identity,
            **figures,
            "id": self._id,
            "layer": foreign.site.layer,
            "hook": foreign.site.hook,
            "norms": None if norms is None else asdict(norms),
            "activations": None,
            "positions": ALL if encoding is None and foreign.prefix is None else OWN,
            "imported": {
                "format": self._form,
                "model": foreign.model,
                "corpus": foreign.corpus,
                "context": foreign.context,
                "said": foreign.metadata,
            },
            "seconds": time.perf_counter() - self._started,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "files": {name: sha256_of(part / name) for name in (ATOMS_FILE, INDEX_FILE)},
        }
        write_sealed(part / MANIFEST_FILE, manifest)
        self._job.advance(1)


def report_of(library: Library, dictionary_id: str) -> Imported:
    """Count the recorded and confirmed sources of a dictionary.

    Raises UserError if it cannot be read.
    """
    dictionary = Dictionary.load(library.folder(dictionary_id))
    index = Index(library.index_path(dictionary_id))
    try:
        confirmed = sum(place >= 0 for place in index.origins()["document"].tolist())
    finally:
        index.close()
    return Imported(dictionary_id, len(dictionary), int(_is_named(dictionary.sources).sum()), confirmed)


def _is_named(sources: torch.Tensor) -> torch.Tensor:
    return (sources != torch.tensor(UNKNOWN)).any(dim=1)


def _none_known(dictionary: Dictionary) -> torch.Tensor:
    return torch.tensor(UNKNOWN).expand(len(dictionary), 2)
