"""Passages as the token strip takes them."""

import pandas as pd

from app.components.token_strip import Token
from app.tables import each


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
