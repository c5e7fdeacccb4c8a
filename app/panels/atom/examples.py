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


def show_examples(atom: Atom, index: Index) -> None:
    """Show passages on which the atom fires: the top, five intervals, the lowest."""
    top, spread, low = (
        index.top_examples(atom.atom),
        index.interval_examples(atom.atom),
        index.lowest_examples(atom.atom),
    )
    if top.empty:
        return
    asked = sorted({int(token) for frame in (top, spread, low) for token in frame["token"]})
    passages = index.passages(asked, atom.atom)

    def strip(examples: pd.DataFrame, key: str) -> None:
        rows = []
        for example in each(examples):
            passage = passages[example.token]
            repeats = getattr(example, "repeats", 1)
            where = f"{passage['name'].iloc[0]}" + (f"   ×{repeats}" if repeats > 1 else "")
            rows.append(
                Row(
                    tokens_of(passage, example.token),
                    [number(example.coefficient)],
                    key=int(example.token),
                    note=where,
                )
            )
        picked = token_strip(rows, key=key, strongest=atom.strongest)
        if picked is not None:
            show_document(atom.atom, int(picked))

    st.subheader("Top examples")
    st.caption(
        "Where its coefficient is largest, the sign counted; ×n counts passages that read the same. "
        "Click one for its document"
    )
    strip(top, "top")
    if atom.maximum == atom.minimum:
        return
    st.subheader("Across its range")
    width = ((atom.maximum or 0) - (atom.minimum or 0)) / INTERVALS
    for interval in range(INTERVALS):
        examples = spread.loc[spread["interval"] == interval, :]
        high = (atom.maximum or 0) - interval * width
        held = share(examples["share"].mean()) if len(examples) else "none"
        st.text(f"{number(high - width)} to {number(high)}: {held} of its firing")
        if len(examples):
            strip(examples, f"interval_{interval}")
    st.subheader("Lowest")
    strip(low, "low")
