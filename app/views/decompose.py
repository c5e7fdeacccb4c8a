"""The page that decomposes a text."""

import streamlit as st

from app import resources
from app.panels.decompose.form import show_form, show_header
from app.panels.decompose.passage import decomposed, text_of, to_decompose
from app.panels.decompose.tokens import show_passage, show_token
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
    show_header(record)
    text = text_of(shown.text, shown.kept)
    show_form(text or "")
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


with chrome.errors_shown():
    show_decompose()
