"""Atoms page: the list."""

import streamlit as st

from app.components.token_strip import token_strip
from app.format.tables import each
from app.format.text import count
from app.panels.atoms.address import go
from app.panels.atoms.filters import RANGES, SCOPES
from app.panels.atoms.map import row_of
from app.shell import widgets
from app.state import pages as state
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index

PAGE_ROWS = 50


def show_list(
    record: DictionaryManifest, shown: state.AtomsState, index: Index, selected: tuple[int, ...] | None
) -> None:
    """Show one page of the list."""
    where = shown.where(selected)
    total = index.count(where)
    sort, descending = state.SORTS[shown.sort]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{total:,} of {index.n_atoms:,} atoms")
        widgets.download(
            lambda: index.page(where, sort, descending, limit=max(total, 1)),
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
    atoms = index.page(where, sort, descending, (page - 1) * PAGE_ROWS, PAGE_ROWS)
    token_strip(
        [row_of(record, atom) for atom in each(atoms)],
        key="atoms",
        columns=["Source of the atom", "fires on", "strongest", "error"],
    )
    if pages > 1:
        # Its key contains the page number, because the URL alone determines which page is shown.
        key = f"atoms_page_{page}"
        st.pagination(pages, default=page, key=key, on_change=lambda: go(page=st.session_state[key]))


def show_nothing(shown: state.AtomsState) -> None:
    """Show why no atom is listed, and what to do."""
    reasons = [f"no atom has “{shown.text}” {SCOPES[shown.scope]}"] if shown.text else []
    reasons += [f"the range of “{RANGES[name].lower()}” is narrow" for name in RANGES if getattr(shown, name)]
    reasons += [f"only the first {count(shown.first)} atoms are listed"] if shown.first else []
    reasons += ["the selection on the map has no other atoms"] if shown.region else []
    st.text("Nothing found: " + (", or ".join(reasons) or "this dictionary has no atoms") + ".")
    other = "in the contexts where it fires" if shown.scope != "context" else "in the source passage"
    st.text(f"Search {other}, widen a range, or clear the filters." if reasons else "Build it from more tokens.")
