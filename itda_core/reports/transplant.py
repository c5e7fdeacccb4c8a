"""The stored transplant of a dictionary; untrusted when read."""

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
"""Tokens kept of each transplanted atom: its largest coefficients. Some of them read the same, and are shown once."""
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
"""Of each atom of A: its source's ordinal in B's index; on how many common tokens its transplant fires, the atom
itself, and both; the transplant's largest absolute coefficient; and the correlation of the two's coefficients. All but
`atom` are missing where it has no transplant; the correlation is, too, where either never fires."""
CONTEXT_SCHEMA = pa.schema({"atom": pa.int32(), "rank": pa.int32(), "token": pa.int32(), "coefficient": pa.float32()})
"""Of each token that a transplant fires on most: the atom of A, its place from 0, its ordinal in B's index."""
SUMMARY_FILE = "transplant.json"
ATOMS_FILE, CONTEXTS_FILE = "transplant-atoms.parquet", "transplant-contexts.parquet"
VERSION = 2  # of what is measured: what an earlier version kept is not read
ATOM_COLUMNS = tuple(ATOM_SCHEMA.names)
CONTEXT_COLUMNS = tuple(CONTEXT_SCHEMA.names)


def read_atoms(path: Path, n_atoms: int, n_read: int, n_common: int) -> pd.DataFrame:
    """Read the table of A's atoms: ATOM_COLUMNS.

    Args:
        path: the file.
        n_atoms: atoms of A.
        n_read: tokens in B's index.
        n_common: tokens that both captured.

    Raises:
        ValueError: the file cannot be read, or holds what cannot be; it says what the file does, to follow its name.
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
    # An atom's own source is a common token, and left out.
    fires_on = np.maximum(fires, fires_a)
    if not ((together >= 0) & (together <= np.minimum(fires, fires_a)) & (fires_on < n_common)).all():
        raise ValueError("has counts that cannot be")
    strongest = found["strongest"].to_numpy(np.float64)
    if not (np.isfinite(strongest) & (strongest >= 0) & ((strongest > 0) == (fires > 0))).all():
        raise ValueError("has coefficients that cannot be")
    told = frame.loc[frame["correlation"].notna(), :]
    both_fire = told[["fires", "fires_a"]].fillna(0).to_numpy() > 0
    if not both_fire.all() or not are_within_one(told, "correlation"):
        raise ValueError("has correlations that are none")
    return frame


def read_contexts(path: Path, atoms: pd.DataFrame, n_read: int) -> pd.DataFrame:
    """Read the table of tokens, by atom and rank: CONTEXT_COLUMNS, with nothing missing.

    Args:
        path: the file.
        atoms: what `read_atoms` gave, which says how many tokens there are of each atom.
        n_read: tokens in B's index.

    Raises:
        ValueError: as `read_atoms` does.
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


def read_transplant(library: Library, a: DictionaryManifest, b: DictionaryManifest) -> Transplant | None:
    """A's dictionary carried over to B's model, None while it is not. Raises DamagedError, or NewerError."""
    folder = folder_of(library, a, b)
    if not is_file(folder / SUMMARY_FILE):
        return None
    said, what = read_json(folder / SUMMARY_FILE), f"the transplant of comparison {folder.name}"
    if isinstance(said, dict) and check_format(said.get("version"), VERSION, what, _REMEDY) < VERSION:
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


def _read_tables(
    library: Library, a: DictionaryManifest, b: DictionaryManifest, summary: TransplantSummary, folder: Path
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
    if any(getattr(summary, what) != value for what, value in told_by(atoms).items()):
        raise ValueError(f"{SUMMARY_FILE} does not say what is in {ATOMS_FILE}")
    return atoms, contexts


def told_by(atoms: pd.DataFrame) -> dict[str, Any]:
    """What of a summary follows from the table of A's atoms."""
    correlations = atoms["correlation"].dropna().to_numpy(np.float64)
    return {
        "transplanted": int(np.count_nonzero(atoms["token"].notna())),
        "compared": len(correlations),
        "silent": int(np.count_nonzero(atoms["fires"].to_numpy(np.float64, na_value=np.nan) == 0)),
        "correlation": float(np.median(correlations)) if len(correlations) else None,
    }
