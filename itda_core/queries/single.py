"""Access to one dictionary's index, shared by all of its queries."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itda_core.index.connection import IndexReader


class SingleIndex(IndexReader):
    """Read-only access to one dictionary's index.

    Safe to share between threads, since every query has a cursor of its own.
    """

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            DamagedError: the file is missing, or not an index, or has invalid values for an atom.
            EngineError: DuckDB failed.
        """
        super().__init__({"main": path})
        self.n_atoms = int(self._value("SELECT count(*) FROM atoms"))
        self.n_tokens = int(self._value("SELECT count(*) FROM tokens WHERE error IS NOT NULL"))

    @property
    def n_read(self) -> int:
        """Number of tokens that were read, captured or not: ordinals are below it."""
        return int(self._value("SELECT coalesce(max(token), -1) + 1 FROM tokens"))

    def _frame(self, sql: str, values: Sequence[Any] = (), may_miss: Collection[str] = ()) -> pd.DataFrame:
        """Return the result of a query, with every number finite.

        No value is missing, except in the columns `may_miss`. Raises DamagedError otherwise.
        """
        found = super()._frame(sql, values)
        for name, column in found.items():
            if name not in may_miss and column.isna().any():
                raise self._spoilt(f"no {name} where there has to be one")
            if column.dtype.kind == "f" and np.isinf(column).any():
                raise self._spoilt(f"a {name} that is not finite")
        return found

    def _value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._frame(sql, values).iat[0, 0]


def plain_value(value: Any) -> Any:
    """Return a table cell as a plain Python value, or None if it is missing."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
