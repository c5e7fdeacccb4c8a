"""The two tables of a transplant: of each atom of A, and of the tokens that its transplant fires on most.

They may be a stranger's when they are read: whatever no job can have found is refused.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from itda_core.kept_tables import are_within_one, is_numbered, read_table

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
ATOM_COLUMNS = tuple(ATOM_SCHEMA.names)
CONTEXT_SCHEMA = pa.schema({"atom": pa.int32(), "rank": pa.int32(), "token": pa.int32(), "coefficient": pa.float32()})
"""Of each token that a transplant fires on most: the atom of A, its place from 0, its ordinal in B's index."""
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
