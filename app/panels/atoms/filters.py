"""Atoms page: filters and sort order."""

import numpy as np
import streamlit as st

from app.format.text import number
from app.panels.atoms.address import go, widget
from app.state import codec, pages
from itda_core.queries.atoms import Index
from itda_core.queries.filters import AtomFilter

SCOPES = {"source": "in the source passage", "token": "in the source token", "context": "where it fires most"}
SORTS = {
    "best": "best match first",
    "varied": "clear and varied first",
    "admission": "order of admission",
    "densest": "most frequent first",
    "rarest": "least frequent first",
    "strongest": "strongest first",
    "weakest": "weakest first",
    "negative": "most negative first",
    "surprising": "largest error at admission",
    "expected": "smallest error at admission",
}
RANGES = {
    "density": "Share of tokens it fires on",
    "strongest": "Strongest coefficient",
    "error": "Error at admission",
}
STEPS = 200
MOST_DIGITS = 12


def show_filters(shown: pages.AtomsState, index: Index) -> None:
    """Show the filters in one row."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=245):
            st.text_input(
                "Search",
                placeholder='words, or "a phrase"',
                icon=":material/search:",
                max_chars=200,
                **widget("text", shown.text),
            )
        with st.container(width=195):
            st.selectbox("Where", list(SCOPES), format_func=SCOPES.__getitem__, **widget("scope", shown.scope))
        with st.container(width=205):
            show_order(shown)
        active = sum(getattr(shown, name) is not None for name in (*RANGES, "first"))
        with st.popover(f"Ranges ({active})" if active else "Ranges", icon=":material/tune:"):
            for name, (low, high) in index.ranges().items():
                show_range(name, low, high, getattr(shown, name))
            show_first(index.n_atoms, shown.first)
        if shown.region or shown.where(None) != AtomFilter():
            st.button(
                "Clear all",
                icon=":material/close:",
                type="tertiary",
                on_click=go,
                kwargs={"text": "", "scope": "source", "region": None, "first": None, **dict.fromkeys(RANGES)},
            )


def show_order(shown: pages.AtomsState) -> None:
    """Show the box of sort orders; the usual one means no choice."""
    key = "atoms_sort"
    st.session_state[key] = shown.order
    choices = [sort for sort in SORTS if sort != "best" or shown.text]

    def changed() -> None:
        sort = st.session_state[key]
        go(sort=None if sort == shown.usual_order else sort)

    st.selectbox("Order", choices, format_func=SORTS.__getitem__, key=key, on_change=changed)


def show_range(name: str, low: float, high: float, now: codec.Range | None) -> None:
    """Show a slider over one statistic; its full range means no condition."""
    if not low < high:
        st.caption(f"{RANGES[name]}: {number(low)} for every atom")
        return
    scale, unit = (100, " %%") if name == "density" else (1, "")
    # A little wider than the values, which have single precision, so that the ends include the extremes.
    margin = (high - low) * 1e-6
    low, high = (low - margin) * scale, (high + margin) * scale
    key = f"atoms_{name}"
    chosen = (now[0] * scale, now[1] * scale) if now else (low, high)
    st.session_state[key] = (min(max(chosen[0], low), high), max(min(chosen[1], high), low))

    def changed() -> None:
        value = st.session_state[key]
        is_whole = value[0] <= low and value[1] >= high
        go(**{name: None if is_whole else (value[0] / scale, value[1] / scale)})

    digits = min(max(0, 2 - int(np.floor(np.log10(high - low)))), MOST_DIGITS)
    shown = f"%.{digits}f{unit}"
    st.slider(RANGES[name], low, high, step=(high - low) / STEPS, format=shown, key=key, on_change=changed)


def show_first(n_atoms: int, now: int | None) -> None:
    """Show a slider that limits the list to the atoms admitted first.

    Its full range means no condition.
    """
    if n_atoms < 2:
        return
    key = "atoms_first"
    st.session_state[key] = min(now or n_atoms, n_atoms)

    def changed() -> None:
        value = st.session_state[key]
        go(first=None if value >= n_atoms else value)

    st.slider("First atoms only", 1, n_atoms, key=key, on_change=changed)
