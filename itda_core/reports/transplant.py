"""Stored transplant of a dictionary; untrusted when read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from itda_core.common.files import is_file, read_json, sha256_of
from itda_core.common.parquet import are_within_one, is_numbered, read_table
from itda_core.common.validate import Count, Finite, check_format, damaged, parse
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.reports.comparison import Key, folder_of

CONTEXTS = 16
"""Tokens stored for each transplanted atom, those with its largest coefficients. Identical passages are shown once."""
ATOM_SCHEMA = pa.schema(
    {
        "atom": pa.int32(),
        "token": pa.int32(),
        "fires": pa.int32(),
        "fires_a": pa.int32(),
        "together": pa.int32(),
        "strongest": pa.float32(),
        "correlation": pa.float32(),
    }
)
"""For each atom of A: its source's ordinal in B's index; the numbers of common tokens on which its transplant, the atom
itself, and both fire; the transplant's largest absolute coefficient; and the correlation of their coefficients. All but
`atom` are missing if it has no transplant; the correlation is also missing if either never fires."""
CONTEXT_SCHEMA = pa.schema({"atom": pa.int32(), "rank": pa.int32(), "token": pa.int32(), "coefficient": pa.float32()})
"""For each of a transplant's strongest tokens: atom of A, rank from 0, ordinal in B's index, coefficient."""
SUMMARY_FILE = "transplant.json"
ATOMS_FILE, CONTEXTS_FILE = "transplant-atoms.parquet", "transplant-contexts.parquet"
VERSION = 2  # of the measured values: data of an earlier version is not read
ATOM_COLUMNS = tuple(ATOM_SCHEMA.names)
CONTEXT_COLUMNS = tuple(CONTEXT_SCHEMA.names)


def read_atoms(path: Path, n_atoms: int, n_read: int, n_common: int) -> pd.DataFrame:
    """Read the table of A's atoms, with the columns ATOM_COLUMNS.

    Args:
        path: the file.
        n_atoms: number of atoms of A.
        n_read: number of tokens in B's index.
        n_common: number of tokens that both captured.

    Raises:
        ValueError: the file cannot be read, or holds invalid values; the message is a predicate, to follow the file's
            name.
    """
    frame = read_table(path, ATOM_SCHEMA, n_atoms)
    if not is_numbered(frame, "atom", np.arange(n_atoms)):
        raise ValueError("is not of these dictionaries")
    missing = frame[["token", "fires", "fires_a", "together", "strongest"]].isna()
    if not missing.eq(missing["token"], axis=0).to_numpy().all():
        raise ValueError("has half a transplant")
    found = frame.loc[~missing["token"], :]
    if not found["token"].between(0, n_read - 1).all():
        raise ValueError("names tokens that there are not")
    fires, fires_a, together = (found[name].to_numpy(np.int64) for name in ("fires", "fires_a", "together"))
    # An atom's own source is a common token that is not counted.
    fires_on = np.maximum(fires, fires_a)
    if not ((together >= 0) & (together <= np.minimum(fires, fires_a)) & (fires_on < n_common)).all():
        raise ValueError("has counts that cannot be")
    strongest = found["strongest"].to_numpy(np.float64)
    if not (np.isfinite(strongest) & (strongest >= 0) & ((strongest > 0) == (fires > 0))).all():
        raise ValueError("has coefficients that cannot be")
    correlated = frame.loc[frame["correlation"].notna(), :]
    both_fire = correlated[["fires", "fires_a"]].fillna(0).to_numpy() > 0
    if not both_fire.all() or not are_within_one(correlated, "correlation"):
        raise ValueError("has correlations that are none")
    return frame


def read_contexts(path: Path, atoms: pd.DataFrame, n_read: int) -> pd.DataFrame:
    """Read the table of tokens, by atom and rank, with the columns CONTEXT_COLUMNS.

    No value is missing.

    Args:
        path: the file.
        atoms: the result of `read_atoms`, which determines the number of tokens of each atom.
        n_read: number of tokens in B's index.

    Raises:
        ValueError: as in `read_atoms`.
    """
    kept = np.minimum(atoms["fires"].fillna(0).to_numpy(np.int64), CONTEXTS)
    frame = read_table(path, CONTEXT_SCHEMA, int(kept.sum()))
    atom = np.repeat(np.arange(len(kept)), kept)
    rank = np.arange(len(atom)) - (np.cumsum(kept) - kept)[atom]
    if not (is_numbered(frame, "atom", atom) and is_numbered(frame, "rank", rank)):
        raise ValueError("has tokens of other atoms, or in another order")
    if frame["token"].isna().to_numpy().any() or not frame["token"].between(0, n_read - 1).all():
        raise ValueError("names tokens that there are not")
    coefficient = frame["coefficient"].to_numpy(np.float64, na_value=np.nan)
    is_falling = (rank[1:] == 0) | (coefficient[1:] <= coefficient[:-1])
    strongest = atoms["strongest"].to_numpy(np.float64, na_value=0)[atom]
    if not (np.abs(coefficient) <= strongest).all() or not is_falling.all():
        raise ValueError("has coefficients that cannot be")
    return frame.astype({field.name: field.type.to_pandas_dtype() for field in CONTEXT_SCHEMA})


SCHEMAS = {ATOMS_FILE: ATOM_SCHEMA, CONTEXTS_FILE: CONTEXT_SCHEMA}
_REMEDY = f"delete its {SUMMARY_FILE} and compute it again"


@dataclass(frozen=True)
class TransplantSummary:
    """Summary of the transplant of A's dictionary to B."""

    a: str
    """Id of the dictionary whose atoms are transplanted."""
    b: str
    """Id of a dictionary of the model to which they are transplanted."""
    key: Key
    """Criterion for equal tokens of A and B: `token` (document and position) or `characters` (document and end)."""
    atoms: Count
    """Number of atoms of A."""
    transplanted: Count
    """Number of those that have a transplant."""
    tokens: Count
    """Number of tokens that both captured."""
    l0: Count
    """Pursuit steps, those of A."""
    compared: Count
    """Number of atoms with a correlation between their and their transplant's coefficients: both of them fire."""
    silent: Count
    """Number of transplants that never fire."""
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    """Median correlation over the `compared` atoms; None if there are none."""
    relative_error: Annotated[Finite, Field(ge=0)] | None
    """Mean relative error of the decomposition of B's activations by A's sources, over common tokens that are not a
    source; None if all of them are sources."""

    @classmethod
    def parse(cls, raw: Any) -> "TransplantSummary":
        """Parse a summary, which may be untrusted.

        Raises DamagedError.
        """
        return parse(cls, raw, "the transplant", _REMEDY)


class TransplantedAtom(NamedTuple):
    """Statistics of one atom of A in B, over common tokens other than its source."""

    token: int
    """Its source's ordinal in B's index."""
    fires: int
    """Number of tokens on which its transplant fires."""
    fires_a: int
    """Number of tokens on which the atom itself fires."""
    together: int
    """Number of tokens on which both fire."""
    strongest: float
    """Largest absolute coefficient of the transplant; 0 if it never fires."""
    correlation: float | None
    """Pearson correlation of their coefficients, which are 0 on tokens without firing; None if either never fires."""


@dataclass(frozen=True)
class _Kept:
    """Part of a summary that describes the tables beside it."""

    files: dict[str, str]
    """SHA-256 of each table."""


@dataclass(frozen=True)
class Transplant:
    """Transplant of A's dictionary to B."""

    summary: TransplantSummary
    """Summary over all atoms."""
    atoms: pd.DataFrame
    """One row per atom of A, with the columns ATOM_COLUMNS."""
    contexts: pd.DataFrame
    """Strongest tokens by atom and rank, with the columns CONTEXT_COLUMNS."""

    def atom(self, atom: int) -> TransplantedAtom | None:
        """Return the statistics of an atom of A, or None if it has no transplant."""
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
        """Return the tokens with the largest coefficients of an atom's transplant.

        Columns: token (of B), coefficient; the largest first.
        """
        first, stop = np.searchsorted(self.contexts["atom"].to_numpy(), [atom, atom + 1])
        return self.contexts.iloc[first:stop][["token", "coefficient"]].reset_index(drop=True)


def read_transplant(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Transplant | None:
    """Return the transplant of A's dictionary to B's model, or None if there is none.

    One of an earlier version counts as none. Raises DamagedError, or NewerError for one of a later version.
    """
    folder = folder_of(library, a, b)
    if not is_file(folder / SUMMARY_FILE):
        return None
    raw, subject = read_json(folder / SUMMARY_FILE), f"the transplant of comparison {folder.name}"
    if isinstance(raw, dict) and check_format(raw.get("version"), VERSION, subject, _REMEDY) < VERSION:
        return None
    kept = parse(_Kept, raw, subject, _REMEDY)
    summary = parse(TransplantSummary, raw, subject, _REMEDY)
    try:
        for name in (ATOMS_FILE, CONTEXTS_FILE):
            if sha256_of(folder / name) != kept.files.get(name):
                raise ValueError(f"{name} is not the file that was written")
        atoms, contexts = _read_tables(library, a, b, summary, folder)
    except (OSError, ValueError) as error:
        raise damaged(subject, str(error), _REMEDY) from error
    return Transplant(summary, atoms, contexts)


def _read_tables(
    library: Library, a: DictionaryManifest, b: DictionaryManifest, summary: TransplantSummary, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read both tables of a transplant: those of atoms and of contexts.

    Raises ValueError if they are not of these dictionaries, or hold invalid values.
    """
    expected = (a.id, b.id, a.n_atoms, a.settings.l0)
    if (summary.a, summary.b, summary.atoms, summary.l0) != expected:
        raise ValueError(f"{SUMMARY_FILE} is of other dictionaries")
    if not 0 < summary.tokens <= min(a.n_tokens, b.n_tokens):
        raise ValueError(f"{SUMMARY_FILE} states {summary.tokens} common tokens")
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
    if any(getattr(summary, field) != value for field, value in summary_fields(atoms).items()):
        raise ValueError(f"{SUMMARY_FILE} does not match {ATOMS_FILE}")
    return atoms, contexts


def summary_fields(atoms: pd.DataFrame) -> dict[str, Any]:
    """Return the fields of a summary that follow from the table of A's atoms."""
    correlations = atoms["correlation"].dropna().to_numpy(np.float64)
    return {
        "transplanted": int(np.count_nonzero(atoms["token"].notna())),
        "compared": len(correlations),
        "silent": int(np.count_nonzero(atoms["fires"].to_numpy(np.float64, na_value=np.nan) == 0)),
        "correlation": float(np.median(correlations)) if len(correlations) else None,
    }
