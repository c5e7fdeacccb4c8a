"""Table helpers that several parts of the app share."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def each(frame: pd.DataFrame) -> Iterator[Any]:
    """Iterate over the rows of a table, with their columns as attributes."""
    return iter(frame.itertuples(index=False))


def csv_of(frame: pd.DataFrame) -> str:
    """Return a table as CSV that is safe to open in a spreadsheet.

    No text cell starts a formula; numbers stay numbers.
    """
    guarded = frame.copy()
    for name in guarded.columns:
        if not pd.api.types.is_numeric_dtype(guarded[name].dtype):
            guarded[name] = guarded[name].map(_guarded)
    guarded.columns = [_guarded(name) for name in guarded.columns]
    out = io.StringIO()
    guarded.to_csv(out, index=False, quoting=csv.QUOTE_NONNUMERIC)
    return out.getvalue()


def _guarded(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
