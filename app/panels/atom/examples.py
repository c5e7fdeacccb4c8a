"""Atom page: examples from each interval of activation."""

import pandas as pd
import streamlit as st

from app.components.token_strip import Row, token_strip
from app.format.tables import each
from app.format.text import number, share
from app.panels.atom.source import show_document
from app.panels.token_rows import tokens_of
from itda_core.queries.atoms import Atom, Index
from itda_core.queries.examples import INTERVALS


def show_top(atom: Atom, index: Index) -> None:
    """Show the passages on which the atom's coefficient is largest."""
    top = index.top_examples(atom.atom)
    if top.empty:
        return
    st.subheader("Top examples")
    st.caption(
        "The tokens on which its coefficient is largest, with their passages; ×n is the number of tokens whose "
        "passages read the same. Click one for its document."
    )
    _strip(top, "top", atom, index.passages(top["token"].tolist(), atom.atom))


def show_range(atom: Atom, index: Index) -> None:
    """Show passages from five intervals of the coefficient, and those on which it is lowest."""
    if not atom.count or atom.maximum == atom.minimum:
        return
    st.subheader("Across its range")
    spread, low = index.interval_examples(atom.atom), index.lowest_examples(atom.atom)
    passages = index.passages(sorted({*spread["token"].tolist(), *low["token"].tolist()}), atom.atom)
    width = ((atom.maximum or 0) - (atom.minimum or 0)) / INTERVALS
    for interval in range(INTERVALS):
        examples = spread.loc[spread["interval"] == interval, :]
        high = (atom.maximum or 0) - interval * width
        held = share(examples["share"].mean()) if len(examples) else "none"
        st.text(f"{number(high - width)} to {number(high)}: {held} of its firing")
        if len(examples):
            _strip(examples, f"interval_{interval}", atom, passages)
    st.subheader("Lowest")
    _strip(low, "low", atom, passages)


def _strip(examples: pd.DataFrame, key: str, atom: Atom, passages: dict[int, pd.DataFrame]) -> None:
    """Show examples as rows with their passages, by token; a click on one opens its document."""
    rows = []
    for example in each(examples):
        passage = passages[example.token]
        repeats = getattr(example, "repeats", 1)
        where = f"{passage['name'].iloc[0]}" + (f"   ×{repeats}" if repeats > 1 else "")
        row = Row(tokens_of(passage, example.token), [number(example.coefficient)], key=int(example.token), note=where)
        rows.append(row)
    picked = token_strip(rows, key=key, strongest=atom.strongest)
    if picked is not None:
        show_document(atom.atom, int(picked))
