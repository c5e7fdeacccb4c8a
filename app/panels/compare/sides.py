"""Compare page: the two dictionaries, and their swap."""

from dataclasses import replace

import streamlit as st

from app.format.text import count, number, share
from app.panels.compare.rows import mirrored
from app.shell import chrome
from app.state import codec, pages


def show_sides(shown: pages.CompareState) -> None:
    """Show the two dictionaries with their sizes, A on the left, B on the right, and a button that swaps them."""
    names = chrome.dictionary_names()
    records = {record.id: record for record in chrome.sound_records()}

    def side_of(side: str, chosen: str) -> None:
        record = records.get(chosen)
        if record is None:
            return
        chrome.dictionary_link(chosen, names[chosen], place=f"side_{side}", side=side)
        explained = record.variance_explained
        words = f"{count(record.n_atoms)} atoms, relative error {number(record.relative_error)}"
        st.caption(words + ("" if explained is None else f", variance explained {share(explained)}"))

    left, middle, right = st.columns([8, 1, 8], vertical_alignment="center")
    with left:
        side_of("a", shown.a)
    with middle:
        st.button(":material/swap_horiz:", key="swap", type="tertiary", on_click=swap, help="Swap A and B")
    with right:
        side_of("b", shown.b)


def swap() -> None:
    """Swap A and B; what is listed and selected stays the same."""
    here = codec.decode(pages.CompareState, st.query_params)
    turned = replace(
        here,
        a=here.b,
        b=here.a,
        part=mirrored(here.part),
        sort={"gained": "lost", "lost": "gained"}.get(here.sort, here.sort),
        atom_a=here.atom_b,
        atom_b=here.atom_a,
        beside=mirrored(here.beside),
    )
    st.query_params.from_dict(codec.encode(turned))
