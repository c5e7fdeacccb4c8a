"""Atom page: how well the label predicts where the atom fires."""

from functools import partial

import pandas as pd
import streamlit as st

from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, share
from app.panels.atom import label_check
from app.shell import widgets
from itda_core.queries.atoms import Atom, Index

VERDICTS = {
    "holds": partial(st.badge, "The label holds", color="green"),
    "strong": partial(st.badge, "The label holds where it fires strongly", color="blue"),
    "in part": partial(st.badge, "The label holds in part", color="orange"),
    "one case": partial(st.badge, "The label is one case among others", color="orange"),
    "token before": partial(st.badge, "The token before explains it better", color="orange"),
    "misleads": partial(st.badge, "The label misleads", color="red"),
    "untested": partial(st.badge, "The label cannot be checked", color="gray"),
}
_COLUMNS = ("Token", "recall", "precision", "by weight", "strong")


def show_meaning(atom: Atom, index: Index) -> None:
    """Show whether the label predicts when the atom fires."""
    st.subheader("What it stands for")
    if not atom.has_source:
        st.text("Its source is not known, so it has no label. Read where it fires.")
        return
    if not atom.count:
        st.text("It never fires on the captured tokens, so its label cannot be checked.")
        return
    around = index.contexts([atom.token], atom.atom, radius=1)
    previous = next((row.text for row in each(around) if row.token < atom.token), None)
    prediction = index.label_prediction(atom.atom)
    found = label_check.verdict(prediction, atom.label, previous)
    with st.container(border=True):
        VERDICTS[found.word]()
        st.text(found.line)
        token_strip(_rules(prediction, atom.label, previous), key="label", columns=_COLUMNS, style="table")
        st.caption(
            "Without the source itself. Recall: of these tokens, those that it fires on. Precision: of the tokens that "
            "it fires on, these; by weight, each counts as much as its coefficient; strong, it has at least half of "
            "the atom's largest."
        )
    tokens = st.expander("Tokens it fires on most", key="tokens", on_change="rerun")
    if tokens.open:
        with tokens:
            _show_tokens(atom, index)


def _show_tokens(atom: Atom, index: Index) -> None:
    """Show the kinds of token that the atom fires on, by their share of its weight."""
    shares = index.token_shares(atom.atom)
    rows = [
        Row(
            [Token(row.text or "∅")],
            [share(row.weight_share), count(row.count), f"{share(row.fires_on)} of {count(row.occurrences)}"],
        )
        for row in each(shares)
    ]
    token_strip(
        rows, key="shares", columns=["Token", "share of its weight", "fires", "of its occurrences"], style="list"
    )
    widgets.download(shares, key="shares_csv", file=f"atom-{atom.atom}-tokens.csv")


def _rules(prediction: pd.DataFrame, label: str, previous: str | None) -> list[Row]:
    """Return the label's rules with their recall and precision, and all tokens for comparison."""
    own, before, both = each(prediction)
    rules = [(own, [Token(label or "∅", is_centre=True)])]
    if previous is not None:
        rules.append((before, [Token(previous or "∅"), Token("…", is_centre=True)]))
        rules.append((both, [Token(previous or "∅"), Token(label or "∅", is_centre=True)]))
    rows = [
        Row(
            tokens,
            [
                f"{share(rule.recall)} of {count(rule.tokens)}" if rule.tokens else "none",
                share(rule.precision),
                share(rule.weight_precision),
                f"{count(rule.strong)} of {count(rule.all_strong)}",
            ],
        )
        for rule, tokens in rules
    ]
    return [*rows, Row([Token("any token")], [share(own.chance), "", "", ""])]
