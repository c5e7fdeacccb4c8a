"""Transplant a dictionary to another model."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from itda_core.common.disk_errors import writing
from itda_core.common.files import sha256_of, write_sealed, written_whole
from itda_core.common.parquet import write_table
from itda_core.jobs.job import Job
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.pairs import Pair
from itda_core.reports.comparison import Key, folder_of, key_of
from itda_core.reports.transplant import (
    ATOMS_FILE,
    CONTEXTS_FILE,
    SCHEMAS,
    SUMMARY_FILE,
    VERSION,
    TransplantSummary,
    read_transplant,
    summary_fields,
)

if TYPE_CHECKING:
    from itda_core.capture.replay import ActivationSource


def transplant(library: Library, id_a: str, id_b: str, job: Job) -> TransplantSummary:
    """Transplant dictionary A to the model of dictionary B and store the result.

    A stored result is reused.

    Raises:
        UserError: unknown ids, dictionaries of two corpora, or neither B's model nor stored activations are
            available.
    """
    a, b = library.record(id_a), library.record(id_b)
    key = key_of(a, b)
    if (found := read_transplant(library, a, b)) is not None:
        return found.summary
    with build_lock(library.root, f"transplant-{folder_of(library, a, b).name[-10:]}"):
        if (found := read_transplant(library, a, b)) is not None:  # by a process that held the lock just before
            return found.summary
        return _transplant(library, a, b, key, job)


def _transplant(
    library: Library, a: DictionaryManifest, b: DictionaryManifest, key: Key, job: Job
) -> TransplantSummary:
    from itda_core.comparison.reembed import carry
    from itda_core.dictionary.dictionary import Dictionary

    read = _reader(library, b, job)
    pair = Pair(library.index_path(a.id), library.index_path(b.id), key)
    names = {
        "mean": f"averaging activations of {b.model}",
        "sources": f"reading A's sources with {b.model}",
        "tokens": "encoding with A's sources",
    }
    mean = Dictionary.load(library.folder(b.id)).mean if b.settings.center == "mean" else None

    def advance(stage: str, amount: int, total: int) -> None:
        if job.state.stage != names[stage]:
            job.stage(names[stage], total, "sources" if stage == "sources" else "tokens")
        job.advance(amount)

    try:
        carried = carry(pair, read, a.settings, advance, mean)
    finally:
        pair.close()
    summary = TransplantSummary(
        a=a.id,
        b=b.id,
        key=key,
        atoms=a.n_atoms,
        tokens=carried.tokens,
        l0=a.settings.l0,
        relative_error=carried.relative_error,
        **summary_fields(carried.atoms),
    )
    _write(folder_of(library, a, b), summary, {ATOMS_FILE: carried.atoms, CONTEXTS_FILE: carried.contexts})
    return summary


def _write(folder: Path, summary: TransplantSummary, tables: dict[str, pd.DataFrame]) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMMARY_FILE).unlink(missing_ok=True)  # of another version: mixing versions would be invalid
        for name, table in tables.items():
            with written_whole(folder / name) as part:
                write_table(table, part, SCHEMAS[name])
        files = {name: sha256_of(folder / name) for name in tables}
        write_sealed(folder / SUMMARY_FILE, {"version": VERSION, **asdict(summary), "files": files})


def _reader(library: Library, record: DictionaryManifest, job: Job) -> "ActivationSource":
    """Return a source of the activations that a dictionary was built from.

    The source is the stored activations, or the model.
    """
    from itda_core.capture.replay import from_kept, from_model, kept_activations, no_activations
    from itda_core.corpus.store import Corpus
    from itda_core.models.locate import open_model

    kept = kept_activations(library, record)
    if kept is not None:
        return from_kept(kept, record)
    if record.weights_sha256 is None:
        raise no_activations(record)
    job.stage(f"loading {record.model}")
    model = open_model(record, library.root)
    return from_model(record, model, Corpus.open(library.corpus_folder(record)))
