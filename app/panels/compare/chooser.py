"""Compare page: choice of A and B."""

from dataclasses import replace

import streamlit as st

from app.components.token_strip import Row, Token, token_strip
from app.format.text import count, number, share
from app.panels.compare.rows import mirrored
from app.shell import chrome, urls
from app.state import codec, pages


def show_chooser(shown: pages.CompareState) -> None:
    """Show the choice of two dictionaries: A on the left, B on the right."""
    names = chrome.dictionary_names()
    records = {record.id: record for record in chrome.sound_records()}

    def choose(side: str, now: str) -> None:
        key = f"compare_choose_{side}"
        st.session_state[key] = now if now in names else None

        def changed() -> None:
            chosen = {side: st.session_state[key] or "", "page": 1, "atom_a": None, "atom_b": None, "segment": None}
            urls.change(pages.CompareState, **chosen, beside="match")

        record = records.get(now)
        words = {"a": "on the left", "b": "on the right"}[side]
        if record is not None:
            explained = record.variance_explained
            words = f"{count(record.n_atoms)} atoms, relative error {number(record.relative_error)}"
            words += "" if explained is None else f", variance explained {share(explained)}"
        token_strip([Row([Token(words)], sides=side)], key=f"chip_{side}", style="links")
        st.selectbox(
            f"Dictionary {side.upper()}",
            list(names),
            index=None,
            format_func=names.__getitem__,
            placeholder="choose a dictionary",
            key=key,
            on_change=changed,
            label_visibility="collapsed",
        )

    left, middle, right = st.columns([8, 1, 8], vertical_alignment="bottom")
    with left:
        choose("a", shown.a)
    with middle:
        st.button(
            ":material/swap_horiz:",
            key="swap",
            type="tertiary",
            disabled=not (shown.a and shown.b),
            on_click=swap,
            help="Swap A and B",
        )
    with right:
        choose("b", shown.b)


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
