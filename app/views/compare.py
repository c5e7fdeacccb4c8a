"""The page that compares two dictionaries."""

import streamlit as st

from app import resources
from app.format.text import visible
from app.panels import jobs
from app.panels.compare import atom_pair
from app.panels.compare.address import go
from app.panels.compare.atom_list import show_list
from app.panels.compare.changes import show_changes, show_compared, show_matches, show_others
from app.panels.compare.overlap import show_bar, show_figures
from app.panels.compare.segments import show_passage
from app.panels.compare.sides import show_sides
from app.shell import chrome, widgets
from app.state import codec, pages
from itda_core.common.errors import UserError

_TABS = {"atoms": "Overlap", "passage": "A passage", "changes": "Changes and matches"}


def show_pair(shown: pages.CompareState) -> None:
    """Show two dictionaries, or two atoms of them."""
    library = resources.library()
    a, b = library.record(shown.a), library.record(shown.b)
    pair = resources.pair(a, b)
    whole = pair.counts()
    found = pair.counts(shown.text) if shown.text else whole
    show_bar(shown, whole, found)
    if shown.atom_a is not None or shown.atom_b is not None:
        atom_pair.show_match(shown, pair)
        return
    comparison = resources.comparison(a, b)
    if a.id == b.id:
        st.info("A and B are the same dictionary: every atom is in both.", icon=":material/info:")
    with widgets.tabs("compare", _TABS, shown.opened, go):
        if shown.opened == "passage":
            show_passage(shown)
            return
        if comparison is None:
            jobs.offer_work(
                "How much overlap chance would give, and which atoms match those without a twin, is computed once and "
                "kept.",
                "Compute chance and matches",
                ":material/compare_arrows:",
                ["compare", a.id, b.id],
            )
        if shown.opened == "atoms":
            show_figures(whole, comparison)
            key = "token" if a.tokenizer_sha256 == b.tokenizer_sha256 else "characters"
            show_list(shown, pair, found, key, comparison is not None)
        elif comparison is not None:
            show_changes(shown, a, b, pair, whole)
            show_matches(shown, pair, whole)


def show_compare() -> None:
    """Show the complete page."""
    try:
        shown = codec.decode(pages.CompareState, st.query_params)
    except UserError as error:
        known = chrome.dictionary_names()
        kept = {name: value for name in ("d", "e") if (value := st.query_params.get(name)) in known}
        st.title("Compare")
        chrome.show_error(error)
        st.button("Start without filters", on_click=lambda: st.query_params.from_dict(kept))
        return
    names = chrome.dictionary_names()
    st.title("Compare")
    titles = [visible(names[each]) for each in (shown.a, shown.b) if each in names]
    st.set_page_config(page_title=" and ".join(titles) if len(titles) == 2 else "Compare")
    if not shown.a or not shown.b:
        st.text(
            "Which atoms two dictionaries have in common, and what each has alone: two models, two layers or two "
            "checkpoints, on one corpus. Choose both in the sidebar, or one of these to compare with:"
            if len(names) > 1
            else "Which atoms two dictionaries have in common: this library has fewer than two. Build another one."
        )
        show_compared(shown)
        show_others(shown)
        return
    show_sides(shown)
    try:
        show_pair(shown)
    except UserError as error:
        chrome.show_error(error)


with chrome.errors_shown():
    show_compare()
