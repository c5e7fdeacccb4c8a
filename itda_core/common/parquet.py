"""Tables that jobs keep in comparisons, as Parquet files, which may be a stranger's when they are read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

_ROUNDING = 1e-3  # correlations and shares are quotients of float64 sums, kept in float32: they may miss 1 by a little
_NULLABLE = {pa.int32(): pd.Int32Dtype(), pa.float32(): pd.Float32Dtype()}


def write_table(frame: pd.DataFrame, path: Path, schema: pa.Schema) -> None:
    """Write the columns of a schema, with checksums. Raises OSError where they cannot be written."""
    table = pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata()
    parquet.write_table(table, path, write_page_checksum=True)


def read_table(path: Path, schema: pa.Schema, n_rows: int) -> pd.DataFrame:
    """Read the columns of a schema, integers and float32 as pandas' types that tell what is missing.

    Raises:
        ValueError: the file cannot be read, or has other columns or another number of rows; it says what a file does
            that is so, to follow its name.
    """
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            if file.metadata.num_rows != n_rows:  # before they are read: there may be any number of them
                raise ValueError("is not of these dictionaries")
            if [file.schema_arrow.field(name).type for name in schema.names] != schema.types:
                raise ValueError("has columns of other kinds")
            table = file.read(schema.names)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ValueError("cannot be read") from error
    return table.to_pandas(ignore_metadata=True, types_mapper=_NULLABLE.get)


def is_numbered(frame: pd.DataFrame, name: str, expected: np.ndarray) -> bool:
    """Whether a column of integers is what it has to be, with nothing missing."""
    return not frame[name].isna().to_numpy().any() and np.array_equal(frame[name].to_numpy(np.int64), expected)


def are_within_one(frame: pd.DataFrame, name: str) -> bool:
    """Whether all of a column lies from −1 to 1, but for rounding; what is missing or no number does not."""
    return bool((np.abs(frame[name].to_numpy(np.float64, na_value=np.nan)) <= 1 + _ROUNDING).all())
