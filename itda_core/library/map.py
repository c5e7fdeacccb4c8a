"""Read a dictionary's two-dimensional map, which may be untrusted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from itda_core.common.errors import DamagedError
from itda_core.common.parquet import is_numbered, read_table

SCHEMA = pa.schema({"atom": pa.int64(), "x": pa.float32(), "y": pa.float32()})
NEIGHBOURS = 15


def read_map(path: Path, n_atoms: int) -> pd.DataFrame | None:
    """Read the map of a dictionary of `n_atoms`, or None if there is none yet.

    Columns atom, x, y, in order of atoms. Raises DamagedError for a file that is not a map, or is another dictionary's.
    """
    if not path.is_file():
        return None
    try:
        frame = read_table(path, SCHEMA, n_atoms)
        if not is_numbered(frame, "atom", np.arange(n_atoms)):
            raise ValueError("does not place each atom once")
        frame = frame.astype({"x": np.float32, "y": np.float32})
        if not np.isfinite(frame[["x", "y"]].to_numpy()).all():
            raise ValueError("has places that are none")
    except ValueError as wrong:
        line = f"{path.name} of {path.parent.name} {wrong}: delete it and compute the map again"
        raise DamagedError(line) from wrong
    return frame
