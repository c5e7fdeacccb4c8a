"""Compare page: the list of atoms."""

import streamlit as st

from app.components.token_strip import token_strip
from app.format.tables import each
from app.format.text import count, visible
from app.panels.compare.address import go, widget
from app.panels.compare.overlap import PART_NAMES
from app.panels.compare.rows import lone_row, twin_row
from app.shell import widgets
from app.state import pages as state
from itda_core.queries.pairs import Pair, PartCounts

PAGE_ROWS = 30
SORTS = {
    "strongest": "strongest first",
    "admission": "order of admission",
    "densest": "most frequent first",
    "rarest": "least frequent first",
    "surprising": "largest error at admission",
    "heaviest": "largest weight",
    "matched": "best match first",
    "unmatched": "poorest match first",
    "gained": "weight gained in B",
    "lost": "weight lost in B",
}
OF_ONE_SIDE, OF_TWINS = ("matched", "unmatched"), ("gained", "lost")
OF_THE_JOB = (*OF_ONE_SIDE, *OF_TWINS, "heaviest")


def sorts_of(shown: state.CompareState, is_measured: bool) -> list[str]:
    """Return the sort orders of the listed part.

    Some of them need what the job measured.
    """
    left_out = OF_ONE_SIDE if shown.part == "both" else OF_TWINS
    if not is_measured:
        left_out = OF_THE_JOB
    return [name for name in SORTS if name not in left_out]


def show_list(shown: state.CompareState, pair: Pair, found: PartCounts, key: str, is_measured: bool) -> None:
    """Show the search over both sides, and one page of the part chosen in the bar."""
    orders = sorts_of(shown, is_measured)
    order = shown.sort if shown.sort in orders else orders[0]
    sort, descending = state.PAIR_SORTS[order]
    total = getattr(found, shown.part)
    st.subheader({"both": "Atoms with the same source", "a": "Atoms only in A", "b": "Atoms only in B"}[shown.part])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=245):
            st.text_input(
                "Search both sides",
                placeholder="text of a source",
                icon=":material/search:",
                max_chars=200,
                **widget("text", shown.text),
            )
        with st.container(width=220):
            st.selectbox("Order", orders, format_func=SORTS.__getitem__, **widget("sort", order))
        if shown.text:
            st.button("Clear", icon=":material/close:", type="tertiary", on_click=go, kwargs={"text": ""})
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{total:,} {'pairs' if shown.part == 'both' else 'atoms'}")
        where = shown.where
        widgets.download(
            lambda: pair.page(where, sort, descending, limit=max(total, 1)),
            key="pairs_csv",
            file=f"{shown.a}--{shown.b}-{shown.part}.csv",
            label="List as CSV",
        )
    if not total:
        show_nothing(shown, found)
        return
    pages = -(-total // PAGE_ROWS)
    page = min(shown.page, pages)
    rows = pair.page(where, sort, descending, (page - 1) * PAGE_ROWS, PAGE_ROWS)
    make = twin_row if shown.part == "both" else lone_row
    columns = {
        "both": ["Source of both", "A fires on", "B fires on", "A strongest", "B strongest", "pages"],
        "a": ["Source in A", "fires on", "strongest", "error", "best match", "pages"],
        "b": ["Source in B", "fires on", "strongest", "error", "best match", "pages"],
    }[shown.part]
    token_strip([make(shown, row, shown.part, key) for row in each(rows)], key="pairs", columns=columns)
    if pages > 1:
        # Its key contains the page number, because the URL alone determines which page is shown.
        name = f"compare_page_{page}"
        st.pagination(pages, default=page, key=name, on_change=lambda: go(page=st.session_state[name]))


def show_nothing(shown: state.CompareState, found: PartCounts) -> None:
    """Show why nothing is listed, and what to do."""
    if shown.text:
        elsewhere = [f"{count(n)} {name}" for part, name in PART_NAMES.items() if (n := getattr(found, part))]
        st.text(f"Nothing found: no source {PART_NAMES[shown.part]} has “{visible(shown.text)}” in its context.")
        if not elsewhere:
            st.text("The other parts do not have it either: shorten or clear the search.")
            return
        st.text(f"The search finds {' and '.join(elsewhere)}: choose another part of the bar, or clear the search.")
    elif shown.part == "both":
        st.text("Nothing found: the two dictionaries have no source in common.")
    else:
        st.text("Nothing found: every atom of this dictionary has a twin in the other.")
