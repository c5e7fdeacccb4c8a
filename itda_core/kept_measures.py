"""What a job measured of each atom of a comparison, as a Parquet file, which may be a stranger's when it is read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from itda_core.kept_tables import are_within_one, is_numbered, read_table, write_table
from itda_core.types import DamagedError

_SCHEMA = pa.schema(
    {
        "atom": pa.int32(),
        "other": pa.int32(),
        "correlation": pa.float32(),
        "together": pa.int32(),
        "weight": pa.float64(),
    }
)


def write_side(frame: pd.DataFrame, path: Path) -> None:
    """Write a side's measures, the columns MEASURES, with checksums. Raises OSError where it cannot be written."""
    write_table(frame, path, _SCHEMA)


def read_side(path: Path, n_atoms: int, n_other: int) -> pd.DataFrame:
    """Read a side's measures: the columns MEASURES, a row an atom, missing where an atom has no match.

    Args:
        path: the file.
        n_atoms: atoms of this side.
        n_other: atoms of the other side.

    Raises:
        DamagedError: the file cannot be read, or does not hold what can be measured of these atoms.
    """
    try:
        frame = read_table(path, _SCHEMA, n_atoms)
        _check(frame, n_atoms, n_other)
    except ValueError as wrong:
        raise DamagedError(f"{path.name} of comparison {path.parent.name} {wrong}: delete its folder") from wrong
    return frame


def _check(frame: pd.DataFrame, n_atoms: int, n_other: int) -> None:
    """Raises ValueError, as `read_table` does, for values of the right kinds that cannot be."""
    if not is_numbered(frame, "atom", np.arange(n_atoms)):
        raise ValueError("is not of these dictionaries")
    missing = frame[["other", "correlation", "together"]].isna()
    if not missing.eq(missing["other"], axis=0).to_numpy().all():
        raise ValueError("has half a match")
    matched = frame.loc[~missing["other"], :]
    if not matched["other"].between(0, n_other - 1).all():
        raise ValueError("names atoms that there are not")
    if not (matched["together"] >= 1).all():
        raise ValueError("has matches that never fire together")
    if not are_within_one(matched, "correlation"):
        raise ValueError("has correlations that are none")
    if not are_within_one(frame, "weight") or not (frame["weight"].to_numpy(np.float64) >= 0).all():
        raise ValueError("has weights that are no shares")
