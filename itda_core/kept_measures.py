"""What a job measured of each atom of a comparison, as a Parquet file, which may be a stranger's when it is read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from itda_core.pair_queries import MEASURES
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
_ROUNDING = 1e-3  # a correlation is a quotient of float64 sums, kept in float32: it may miss 1 by a little
_NULLABLE = {pa.int32(): pd.Int32Dtype(), pa.float32(): pd.Float32Dtype()}


def write_side(frame: pd.DataFrame, path: Path) -> None:
    """Write a side's measures, the columns MEASURES, with checksums. Raises OSError where it cannot be written."""
    table = pa.Table.from_pandas(frame, _SCHEMA, preserve_index=False).replace_schema_metadata()
    parquet.write_table(table, path, write_page_checksum=True)


def read_side(path: Path, n_atoms: int, n_other: int) -> pd.DataFrame:
    """Read a side's measures: the columns MEASURES, a row an atom, missing where an atom has no match.

    Args:
        path: the file.
        n_atoms: atoms of this side.
        n_other: atoms of the other side.

    Raises:
        DamagedError: the file cannot be read, or does not hold what can be measured of these atoms.
    """
    what = f"{path.name} of comparison {path.parent.name}"
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            if file.metadata.num_rows != n_atoms:  # before they are read: there may be any number of them
                raise DamagedError(f"{what} is not of these dictionaries: delete its folder")
            kinds = {name: file.schema_arrow.field(name).type for name in MEASURES}
            if kinds != {name: _SCHEMA.field(name).type for name in MEASURES}:
                raise DamagedError(f"{what} has columns of other kinds: delete its folder")
            table = file.read(list(MEASURES))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DamagedError(f"{what} cannot be read: delete its folder") from error
    frame = table.to_pandas(ignore_metadata=True, types_mapper=_NULLABLE.get)
    if wrong := _wrong(frame, n_atoms, n_other):
        raise DamagedError(f"{what} {wrong}: delete its folder")
    return frame


def _wrong(frame: pd.DataFrame, n_atoms: int, n_other: int) -> str:
    """What is wrong with values of the right kinds; empty where nothing is."""
    if frame["atom"].isna().to_numpy().any() or not np.array_equal(
        frame["atom"].to_numpy(np.int64), np.arange(n_atoms)
    ):
        return "is not of these dictionaries"
    missing = frame[["other", "correlation", "together"]].isna()
    if not missing.eq(missing["other"], axis=0).to_numpy().all():
        return "has half a match"
    matched = frame.loc[~missing["other"], :]
    if not matched["other"].between(0, n_other - 1).all():
        return "names atoms that there are not"
    if not (matched["together"] >= 1).all():
        return "has matches that never fire together"
    correlation = matched["correlation"].to_numpy(np.float64)
    if not (np.abs(correlation) <= 1 + _ROUNDING).all():  # nor is anything that is not a number
        return "has correlations that are none"
    weight = frame["weight"].to_numpy(np.float64)
    if not ((weight >= 0) & (weight <= 1 + _ROUNDING)).all():
        return "has weights that are no shares"
    return ""
