"""Passages as the token strip takes them."""

import pandas as pd

from app.components.token_strip import Row, Token
from app.format.tables import each
from app.format.text import number

EXAMPLES = 8
"""Passages that an atom fires on, where two atoms stand side by side."""


def tokens_of(passage: pd.DataFrame, centre: int | None = None) -> list[Token]:
    """The tokens of a passage as queries give it; `centre` is the token to mark."""
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
    """The passage around a token that an atom fires on, with its coefficient and where it is from."""
    return Row(tokens_of(passage, token), [number(coefficient)], note=str(passage["name"].iloc[0]))
