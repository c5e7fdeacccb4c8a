"""Compare page: kinds of tokens that gained or lost weight from A to B."""

import pandas as pd
import streamlit as st

from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, number
from app.panels.compare.rows import match_address
from app.shell import widgets
from app.state import pages
from itda_core.queries.pairs import Pair

_SHOWN = 8


def show_kinds(shown: pages.CompareState, pair: Pair) -> None:
    """Show the kinds of source tokens that gained and lost the most weight, each with three atoms."""
    kinds = pair.kinds()
    st.subheader(
        "Tokens that gained and lost weight",
        help="The atoms whose sources are the same token, taken together: their share of the sum of all absolute "
        "coefficients, in A and in B.",
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.text("More weight in B")
        _list(shown, kinds.loc[kinds["change"] > 0, :].head(_SHOWN), "b")
    with right:
        st.text("More weight in A")
        _list(shown, kinds.loc[kinds["change"] < 0, :].iloc[::-1].head(_SHOWN), "a")
    data = kinds.drop(columns=["a_examples", "b_examples"])
    widgets.download(data, key="kinds_csv", file=f"{shown.a}--{shown.b}-tokens.csv", label="All tokens as CSV")


def _list(shown: pages.CompareState, kinds: pd.DataFrame, side: str) -> None:
    """Show kinds, with examples from the side that has more of them."""
    if kinds.empty:
        st.caption("None.")
        return
    rows = [
        Row(
            [Token(kind.label or "␣", is_centre=True)],
            [
                f"{count(kind.a_atoms)} → {count(kind.b_atoms)}",
                f"{number(100 * kind.a_weight, 2)} → {number(100 * kind.b_weight, 2)} %",
            ],
            links=[
                (str(atom), match_address(shown, *((atom, None) if side == "a" else (None, atom))), side)
                for atom in getattr(kind, f"{side}_examples")
            ],
        )
        for kind in each(kinds)
    ]
    token_strip(rows, key=f"kinds_{side}", columns=["Token", "atoms", "weight", "examples"], style="table")
