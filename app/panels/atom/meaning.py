"""Atom page: how well the label predicts where the atom fires."""

from functools import partial

import streamlit as st

from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, inert, share
from app.panels.atom import label_check
from app.shell import widgets
from itda_core.queries.atoms import Atom, Index

VERDICTS = {
    "holds": partial(st.badge, "The label holds", color="green"),
    "in part": partial(st.badge, "The label holds in part", color="orange"),
    "token before": partial(st.badge, "The token before explains it better", color="orange"),
    "misleads": partial(st.badge, "The label misleads", color="red"),
    "untested": partial(st.badge, "The label cannot be checked", color="gray"),
}


def show_meaning(atom: Atom, index: Index) -> None:
    """Show whether the label predicts when the atom fires."""
    st.subheader("What it stands for")
    if not atom.has_source:
        st.text("Its source is not known, so it has no label. Where it fires says what there is to say.")
        return
    if not atom.count:
        st.text("It never fires on the captured tokens, so there is nothing to hold its label against.")
        return
    around = index.contexts([atom.token], atom.atom, radius=1)
    before = [row.text for row in each(around) if row.token < atom.token]
    shares = index.token_shares(atom.atom)
    prediction = index.label_prediction(atom.atom)
    found = label_check.verdict(prediction, shares, atom.label, before[0] if before else None)
    with st.container(border=True):
        VERDICTS[found.word]()
        st.text(found.line)
        for reason in found.reasons:
            st.caption(inert(reason))
    rows = [
        Row(
            [Token(row.text or "∅")],
            [share(row.weight_share), count(row.count), f"{share(row.fires_on)} of {count(row.occurrences)}"],
        )
        for row in each(shares)
    ]
    with st.expander("Tokens it fires on most"):
        token_strip(
            rows, key="shares", columns=["Token", "share of its weight", "fires", "of its occurrences"], style="list"
        )
        widgets.download(shares, key="shares_csv", file=f"atom-{atom.atom}-tokens.csv")
