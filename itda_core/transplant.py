"""The match that every atom has: B's activation at the atom's own source, its transplant, and what that fires on.

A job carries A's dictionary over to B (`reembedding` says how) and keeps what it finds beside the comparison of A with
B, for this direction; the other is that of B with A. `transplant-atoms.parquet` has a row for each atom of A,
`transplant-contexts.parquet` the tokens that each transplant fires on most, and `transplant.json`, written last, the
summary and the other files' hashes. Reading them needs no torch.

An atom has no transplant where B did not capture its source: with another tokenizer, where no token of B ends at the
same character. An atom's own source is left out of everything that is told of it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from itda_core.comparison import Key, folder_of, key_of
from itda_core.disk_errors import writing
from itda_core.files import is_file, read_json, sha256_of, write_sealed, written_whole
from itda_core.jobs import Job, build_lock
from itda_core.kept_tables import write_table
from itda_core.kept_transplant import ATOM_COLUMNS, ATOM_SCHEMA, CONTEXT_SCHEMA, read_atoms, read_contexts
from itda_core.library import DictionaryRecord, Library
from itda_core.pair_queries import Pair
from itda_core.parsing import Count, Finite, check_format, damaged, parse
from itda_core.queries import Index

if TYPE_CHECKING:
    from itda_core.reembedding import Reader

SUMMARY_FILE = "transplant.json"
ATOMS_FILE, CONTEXTS_FILE = "transplant-atoms.parquet", "transplant-contexts.parquet"
_SCHEMAS = {ATOMS_FILE: ATOM_SCHEMA, CONTEXTS_FILE: CONTEXT_SCHEMA}
_VERSION = 2  # of what is measured: what an earlier version kept is not read
_REMEDY = f"delete its {SUMMARY_FILE} and compute it again"


@dataclass(frozen=True)
class TransplantSummary:
    """What is known of A's dictionary in B as a whole."""

    a: str
    """Id of the dictionary whose atoms they are."""
    b: str
    """Id of a dictionary of the model that they are carried over to."""
    key: Key
    """What makes a token of B the same as A's: `token` (document and position) or `characters` (where it ends)."""
    atoms: Count
    """Atoms of A."""
    transplanted: Count
    """Those that have a transplant."""
    tokens: Count
    """Tokens that both captured."""
    l0: Count
    """Pursuit steps: A's."""
    compared: Count
    """Atoms whose coefficients correlate with their transplant's: those of which both fire."""
    silent: Count
    """Transplants that never fire."""
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    """Median of the correlation over the atoms `compared`; None where there are none."""
    relative_error: Annotated[Finite, Field(ge=0)] | None
    """Mean relative error of B's activations as A's sources decompose them, over common tokens that are no source;
    None where all of them are sources."""

    @classmethod
    def parse(cls, said: Any) -> "TransplantSummary":
        """Read what may come from a stranger's library. Raises DamagedError."""
        return parse(cls, said, "the transplant", _REMEDY)


class TransplantedAtom(NamedTuple):
    """What became of one atom of A in B, over the tokens that both captured without its source."""

    token: int
    """Its source's ordinal in B's index."""
    fires: int
    """Tokens that its transplant fires on."""
    fires_a: int
    """Tokens that the atom itself fires on."""
    together: int
    """Tokens that both fire on."""
    strongest: float
    """The transplant's largest absolute coefficient; 0 where it never fires."""
    correlation: float | None
    """Pearson correlation of their coefficients, 0 where one does not fire; None where either never fires."""


@dataclass(frozen=True)
class _Kept:
    """What a summary says of the tables beside it."""

    files: dict[str, str]
    """SHA-256 of each."""


@dataclass(frozen=True)
class Transplant:
    """A's dictionary carried over to B."""

    summary: TransplantSummary
    """The whole of it."""
    atoms: pd.DataFrame
    """A row for each atom of A: ATOM_COLUMNS."""
    contexts: pd.DataFrame
    """By atom and rank: CONTEXT_COLUMNS."""

    def atom(self, atom: int) -> TransplantedAtom | None:
        """What became of an atom of A; None where it has no transplant."""
        found = {name: self.atoms[name].tolist()[atom] for name in ATOM_COLUMNS}
        if pd.isna(found["token"]):
            return None
        return TransplantedAtom(
            token=int(found["token"]),
            fires=int(found["fires"]),
            fires_a=int(found["fires_a"]),
            together=int(found["together"]),
            strongest=float(found["strongest"]),
            correlation=None if pd.isna(found["correlation"]) else float(found["correlation"]),
        )

    def examples(self, atom: int) -> pd.DataFrame:
        """Where an atom's transplant has its largest coefficients, the largest first: token (of B), coefficient."""
        first, stop = np.searchsorted(self.contexts["atom"].to_numpy(), [atom, atom + 1])
        return self.contexts.iloc[first:stop][["token", "coefficient"]].reset_index(drop=True)


def read_transplant(library: Library, a: DictionaryRecord, b: DictionaryRecord) -> Transplant | None:
    """A's dictionary carried over to B's model, None while it is not. Raises DamagedError, or NewerError."""
    folder = folder_of(library, a, b)
    if not is_file(folder / SUMMARY_FILE):
        return None
    said, what = read_json(folder / SUMMARY_FILE), f"the transplant of comparison {folder.name}"
    if isinstance(said, dict) and check_format(said.get("version"), _VERSION, what, _REMEDY) < _VERSION:
        return None
    kept = parse(_Kept, said, what, _REMEDY)
    summary = parse(TransplantSummary, said, what, _REMEDY)
    try:
        for name in (ATOMS_FILE, CONTEXTS_FILE):
            if sha256_of(folder / name) != kept.files.get(name):
                raise ValueError(f"{name} is not the file that was written")
        atoms, contexts = _read_tables(library, a, b, summary, folder)
    except (OSError, ValueError) as error:
        raise damaged(what, str(error), _REMEDY) from error
    return Transplant(summary, atoms, contexts)


def transplant(library: Library, id_a: str, id_b: str, job: Job) -> TransplantSummary:
    """Carry the dictionary A over to the model of the dictionary B, and keep what was found; what is there is read.

    Raises:
        UserError: unknown ids, dictionaries of two corpora, or B's model is neither here nor its activations kept.
    """
    a, b = library.record(id_a), library.record(id_b)
    key = key_of(a, b)
    if (found := read_transplant(library, a, b)) is not None:
        return found.summary
    with build_lock(library.root, f"transplant-{folder_of(library, a, b).name[-10:]}"):
        if (found := read_transplant(library, a, b)) is not None:  # by a process that had the lock a moment ago
            return found.summary
        return _transplant(library, a, b, key, job)


def _transplant(library: Library, a: DictionaryRecord, b: DictionaryRecord, key: Key, job: Job) -> TransplantSummary:
    from itda_core.reembedding import carry

    read = _reader(library, b, job)
    pair = Pair(library.index_path(a.id), library.index_path(b.id), key)
    names = {"sources": f"reading A's sources with {b.model}", "tokens": "encoding with A's sources"}

    def advance(what: str, amount: int, total: int) -> None:
        if job.state.stage != names[what]:
            job.stage(names[what], total, what)
        job.advance(amount)

    try:
        carried = carry(pair, read, a.settings, advance)
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
        **_told_by(carried.atoms),
    )
    _write(folder_of(library, a, b), summary, {ATOMS_FILE: carried.atoms, CONTEXTS_FILE: carried.contexts})
    return summary


def _write(folder: Path, summary: TransplantSummary, tables: dict[str, pd.DataFrame]) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMMARY_FILE).unlink(missing_ok=True)  # of another version: half of one and half of the other is none
        for name, table in tables.items():
            with written_whole(folder / name) as part:
                write_table(table, part, _SCHEMAS[name])
        files = {name: sha256_of(folder / name) for name in tables}
        write_sealed(folder / SUMMARY_FILE, {"version": _VERSION, **asdict(summary), "files": files})


def _reader(library: Library, record: DictionaryRecord, job: Job) -> "Reader":
    """Gives the activations that a dictionary was built from: those that were kept, or the model's own."""
    from itda_core.build import kept_activations
    from itda_core.corpus import Corpus
    from itda_core.decompose import open_model
    from itda_core.site_activations import from_kept, from_model, no_activations

    kept = kept_activations(library, record)
    if kept is not None:
        return from_kept(kept, record)
    if record.weights_sha256 is None:
        raise no_activations(record)
    job.stage(f"loading {record.model}")
    model = open_model(record, library.root)
    return from_model(record, model, Corpus.open(library.corpus_folder(record)))


def _read_tables(
    library: Library, a: DictionaryRecord, b: DictionaryRecord, summary: TransplantSummary, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of a transplant. Raises ValueError for what is not of these dictionaries, or cannot be."""
    expected = (a.id, b.id, a.n_atoms, a.settings.l0)
    if (summary.a, summary.b, summary.atoms, summary.l0) != expected:
        raise ValueError(f"{SUMMARY_FILE} is of other dictionaries")
    if not 0 < summary.tokens <= min(a.n_tokens, b.n_tokens):
        raise ValueError(f"{SUMMARY_FILE} tells of {summary.tokens} common tokens")
    index = Index(library.index_path(b.id))
    try:
        n_read = index.n_read
    finally:
        index.close()
    name = ATOMS_FILE
    try:
        atoms = read_atoms(folder / ATOMS_FILE, a.n_atoms, n_read, summary.tokens)
        name = CONTEXTS_FILE
        contexts = read_contexts(folder / CONTEXTS_FILE, atoms, n_read)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error
    if any(getattr(summary, what) != value for what, value in _told_by(atoms).items()):
        raise ValueError(f"{SUMMARY_FILE} does not say what is in {ATOMS_FILE}")
    return atoms, contexts


def _told_by(atoms: pd.DataFrame) -> dict[str, Any]:
    """What of a summary follows from the table of A's atoms."""
    correlations = atoms["correlation"].dropna().to_numpy(np.float64)
    return {
        "transplanted": int(np.count_nonzero(atoms["token"].notna())),
        "compared": len(correlations),
        "silent": int(np.count_nonzero(atoms["fires"].to_numpy(np.float64, na_value=np.nan) == 0)),
        "correlation": float(np.median(correlations)) if len(correlations) else None,
    }
