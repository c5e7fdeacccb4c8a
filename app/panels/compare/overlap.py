"""Compare page: atoms of A only, of both, of B only."""

from dataclasses import replace

import streamlit as st

from app.components.pair_bar import BarPart, pair_bar
from app.format.text import count, number, share
from app.panels.overlap import show_iou
from app.shell import urls
from app.state import pages
from itda_core.queries.pairs import PartCounts
from itda_core.reports.comparison import Comparison

PART_NAMES = {"a": "only in A", "both": "in both", "b": "only in B"}


def show_bar(shown: pages.CompareState, whole: PartCounts, found: PartCounts) -> None:
    """Show the two dictionaries as one bar, whose parts select what is listed."""

    def part(name: str) -> BarPart:
        note = f"{count(getattr(found, name))} found" if shown.text else ""
        listed = replace(shown, part=name, page=1, atom_a=None, atom_b=None, beside="match")
        href = urls.address(listed)
        is_current = name == shown.part and shown.atom_a is None and shown.atom_b is None
        return BarPart(name, PART_NAMES[name], getattr(whole, name), href, note, is_current)

    pair_bar([part(name) for name in PART_NAMES], key="bar")


def show_figures(whole: PartCounts, found: Comparison | None) -> None:
    """Show the overlap of the two dictionaries, and the overlap expected by chance."""
    with st.grid(4, min_column_width=150):
        show_iou(
            whole.jaccard,
            None if found is None else found.interval,
            None if found is None else found.chance,
            both="both chose",
            either="either chose",
            blind="each chose as many sources at random from the common tokens",
        )
        st.metric(
            "By chance, same frequency",
            number(None if found is None else found.chance_frequency),
            border=True,
            help="Expected IoU if each chose at random among tokens about as frequent as its own sources.",
        )
    if found is not None and (found.key == "characters" or found.coverage < 1):
        criterion = " (matched by the character where they end)" if found.key == "characters" else ""
        st.caption(
            f"Common tokens{criterion}: {share(found.coverage_a)} of A's and {share(found.coverage_b)} of B's. Atoms "
            "from other tokens cannot be in both."
        )
