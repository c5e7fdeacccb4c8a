"""Atoms page: the list."""

import pandas as pd
import streamlit as st

from app.components.token_strip import token_strip
from app.format.text import count
from app.panels.atoms.address import PAGE_ROWS, go
from app.panels.atoms.filters import RANGES, SCOPES
from app.panels.atoms.rows import rows_of
from app.shell import widgets
from app.state import pages as state
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.queries.search import words_of


def show_list(record: DictionaryManifest, shown: state.AtomsState, index: Index, matching: pd.DataFrame) -> None:
    """Show one page of the list."""
    total = len(matching)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{total:,} of {index.n_atoms:,} atoms")
        widgets.download(
            lambda: index.rows(matching["atom"].tolist()),
            key="atoms_csv",
            file=f"{record.id}-atoms.csv",
            label="List as CSV",
        )
    if shown.first is not None and shown.first < index.n_atoms:
        first = count(shown.first)
        st.caption(f"Only the first {first} atoms, as in the dictionary cropped to {first}.")
    if not total:
        show_nothing(shown)
        return
    pages = -(-total // PAGE_ROWS)
    page = min(shown.page, pages)
    listed = matching.iloc[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    passage = "Where it fires" if shown.text and shown.scope == "context" else "Source of the atom"
    token_strip(rows_of(record, shown, index, listed), key="atoms", columns=[passage, "fires on", "strongest", "error"])
    if pages > 1:
        # Its key contains the page number, because the URL alone determines which page is shown.
        key = f"atoms_page_{page}"
        st.pagination(pages, default=page, key=key, on_change=lambda: go(page=st.session_state[key]))


def show_nothing(shown: state.AtomsState) -> None:
    """Show why no atom is listed, and what to do."""
    what = "all words of " if len(words_of(shown.text)) > 1 else ""
    reasons = [f"no atom has {what}“{shown.text}” {SCOPES[shown.scope]}"] if shown.text else []
    reasons += [f"the range of “{RANGES[name].lower()}” is narrow" for name in RANGES if getattr(shown, name)]
    reasons += [f"only the first {count(shown.first)} atoms are listed"] if shown.first else []
    reasons += ["the selection on the map has no other atoms"] if shown.region else []
    st.text("Nothing found: " + (", or ".join(reasons) or "this dictionary has no atoms") + ".")
    other = "in the contexts where it fires" if shown.scope != "context" else "in the source passage"
    st.text(f"Search {other}, widen a range, or clear the filters." if reasons else "Build it from more tokens.")
