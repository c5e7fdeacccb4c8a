"""Read and write the Parquet tables of comparisons, which may be untrusted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

_ROUNDING = 1e-3  # correlations and shares are float64 quotients stored as float32: rounding may exceed 1
_NULLABLE = {pa.int32(): pd.Int32Dtype(), pa.float32(): pd.Float32Dtype()}


def write_table(frame: pd.DataFrame, path: Path, schema: pa.Schema) -> None:
    """Write the columns of a schema, with page checksums.

    Raises OSError if they cannot be written.
    """
    table = pa.Table.from_pandas(frame, schema, preserve_index=False).replace_schema_metadata()
    parquet.write_table(table, path, write_page_checksum=True)


def read_table(path: Path, schema: pa.Schema, n_rows: int) -> pd.DataFrame:
    """Read the columns of a schema.

    Integers and float32 are read as pandas' nullable types, which represent missing values.

    Raises:
        ValueError: the file cannot be read, or has other columns or another number of rows; the message is a predicate
            that follows the file's name.
    """
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            if file.metadata.num_rows != n_rows:  # checked before reading: an untrusted file may be huge
                raise ValueError("is not of these dictionaries")
            if [file.schema_arrow.field(name).type for name in schema.names] != schema.types:
                raise ValueError("has columns of other kinds")
            table = file.read(schema.names)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ValueError("cannot be read") from error
    return table.to_pandas(ignore_metadata=True, types_mapper=_NULLABLE.get)


def is_numbered(frame: pd.DataFrame, name: str, expected: np.ndarray) -> bool:
    """Return whether an integer column equals `expected`, without missing values."""
    return not frame[name].isna().to_numpy().any() and np.array_equal(frame[name].to_numpy(np.int64), expected)


def are_within_one(frame: pd.DataFrame, name: str) -> bool:
    """Return whether all values of a column are within −1 to 1, up to rounding.

    False if a value is missing or NaN.
    """
    return bool((np.abs(frame[name].to_numpy(np.float64, na_value=np.nan)) <= 1 + _ROUNDING).all())
