"""Passages in the format of the token strip."""

import pandas as pd

from app.components.token_strip import Row, Token
from app.format.tables import each
from app.format.text import number

EXAMPLES = 8
"""Number of passages that an atom fires on, where two atoms are shown side by side."""


def tokens_of(passage: pd.DataFrame, centre: int | None = None) -> list[Token]:
    """Return the tokens of a queried passage; `centre` is the token to mark."""
    return [
        Token(
            row.text,
            None if pd.isna(row.coefficient) else float(row.coefficient),
            is_centre=not pd.isna(row.token) and int(row.token) == centre,
            is_unread=pd.isna(row.token),
        )
        for row in each(passage)
    ]


def example_row(passage: pd.DataFrame, token: int, coefficient: float) -> Row:
    """Return the passage around a token that an atom fires on, as a row.

    The row has the coefficient and the passage's origin.
    """
    return Row(tokens_of(passage, token), [number(coefficient)], note=str(passage["name"].iloc[0]))
