"""The page that decomposes a text."""

import streamlit as st

from app import resources
from app.format.text import visible
from app.panels.decompose.address import go
from app.panels.decompose.overview import show_overview
from app.panels.decompose.passage import decomposed, text_of, to_decompose
from app.panels.decompose.tokens import show_passage, show_token
from app.panels.text_form import show_text_form
from app.shell import chrome
from app.state import codec, pages
from itda_core.common.errors import UserError


def show_decompose() -> None:
    """Show the complete page."""
    shown = codec.decode(pages.DecomposeState, st.query_params)
    if not shown.dictionary:
        chrome.show_no_dictionary("Decompose a text")
        return
    record = resources.library().record(shown.dictionary)
    st.title("Decompose a text")
    st.set_page_config(page_title=f"Decompose, {visible(chrome.dictionary_names()[record.id])}")
    st.caption(
        "The activation at each token is written as a short weighted sum of atoms, which are activations of other "
        "texts, and a residual."
    )
    text = text_of(shown.text, shown.kept)
    show_text_form(
        "decompose_text",
        text or "",
        go,
        ("text", "kept"),
        placeholder="Any text, in any script; code too",
        kind="primary",
        token=None,
    )
    text = to_decompose(text, shown.kept)
    if not text:
        return
    try:
        found = decomposed(record.id, text)
    except UserError as error:
        chrome.show_error(error)
        return
    chosen = shown.token
    if chosen is not None and chosen >= len(found.tokens):
        chrome.show_error(UserError(f"there is no token {chosen}: this text has tokens 0 to {len(found.tokens) - 1}"))
        chosen = None
    show_passage(record, found, chosen)
    if chosen is not None:
        show_token(record, found, chosen)
    elif len(found.norm):
        st.text("Click a token, or press →, to see what it is made of.")
    if len(found.norm):
        show_overview(record, found)


with chrome.errors_shown():
    show_decompose()
