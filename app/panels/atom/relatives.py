"""Atom page: nearest atoms, co-firing atoms, and atoms of other dictionaries."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import resources
from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import number
from app.shell import chrome, urls
from app.state import pages
from itda_core.common.errors import DamagedError
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Atom, Index


def show_relatives(record: DictionaryManifest, atom: Atom, index: Index) -> None:
    """Show related atoms: by direction, by co-firing, and by source."""
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Nearest")
        st.caption("By the cosine of their directions.")
        near = index.neighbours(atom.atom)
        token_strip(atom_rows(record.id, near, ["cosine"]), key="nearest", columns=["Atom", "cosine"])
    with right:
        st.subheader("Fires together with")
        together = index.cofiring(atom.atom)
        if together.empty:
            st.caption("No other atom fires on the same tokens.")
        else:
            st.caption("Jaccard: tokens with both, of those with either. Lift: times as often as by chance.")
            columns = ["Atom", "jaccard", "lift"]
            token_strip(atom_rows(record.id, together, ["jaccard", "lift"]), key="together", columns=columns)
    show_elsewhere(record, atom)


def atom_rows(dictionary_id: str, atoms: pd.DataFrame, columns: Sequence[str]) -> list[Row]:
    """Return atoms as rows of a token strip, with some columns as numbers."""
    return [
        Row(
            [Token(row.before), Token(row.label or "∅", is_centre=True), Token(row.after)],
            [number(getattr(row, column), 2) for column in columns],
            href=urls.atom_address(dictionary_id, int(row.atom)),
            lead=str(row.atom),
        )
        for row in each(atoms)
    ]


def show_elsewhere(record: DictionaryManifest, atom: Atom) -> None:
    """Show the dictionaries that chose the same token as a source.

    Positions are comparable where corpus and tokenizer are the same.
    """
    others = [
        other
        for other in resources.records()
        if isinstance(other, DictionaryManifest)
        and other.id != record.id
        and (other.corpus, other.tokenizer_sha256) == (record.corpus, record.tokenizer_sha256)
    ]
    st.subheader("Same source elsewhere")
    if not atom.has_source:
        st.caption("Its source is not known.")
        return
    if not others:
        st.caption("No other dictionary here has the same corpus and tokenizer.")
        return
    names = chrome.dictionary_names()
    rows, without, damaged = [], [], []
    for other in others:
        try:
            twin = resources.index(other.id).atom_from(atom.document, atom.position)
        except DamagedError:
            damaged.append(other.id)
            continue
        both = urls.address(pages.CompareState(record.id, other.id, atom_a=atom.atom, atom_b=twin))
        name = [Token(names[other.id])]
        if twin is None:  # the comparison shows its best match and its transplant
            without.append(Row(name, ["no atom"], links=[("compare", both, "")]))
            continue
        href = urls.atom_address(other.id, twin)
        rows.append(Row(name, [f"atom {twin}"], href=href, links=[("compare", both, "")]))
    plural = "dictionary" if len(others) == 1 else "dictionaries"
    st.caption(f"This very token is an atom of {len(rows)} of {len(others)} other {plural} over the same text")
    if rows or without:
        token_strip([*rows, *without], key="elsewhere", style="table")
    if damaged:
        st.text(f"Damaged, not looked into: {', '.join(damaged)}")
