"""Decompose page: title and text field."""

import streamlit as st

from app.format.text import visible
from app.panels.decompose.address import go
from app.panels.decompose.passage import addressed
from app.shell import chrome
from itda_core.decompose.passages import MOST_CHARACTERS
from itda_core.library.manifest import DictionaryManifest


def show_header(record: DictionaryManifest) -> None:
    """Show the title and an explanation."""
    name = chrome.dictionary_names()[record.id]
    st.title("Decompose a text")
    st.set_page_config(page_title=f"Decompose, {visible(name)}")
    st.caption(
        "The activation at each token is written as a short weighted sum of atoms, which are activations of other "
        "texts, and a residual."
    )


def show_form(text: str) -> None:
    """Show the text field; nothing runs before its button is clicked."""

    def submitted() -> None:
        text, kept = addressed(st.session_state["decompose_text"])
        go(text=text, kept=kept, token=None)

    st.session_state["decompose_text"] = text
    with st.form("decompose", border=False):
        st.text_area(
            "Text",
            key="decompose_text",
            height=110,
            max_chars=MOST_CHARACTERS,
            placeholder="Any text, in any script; code too",
        )
        st.form_submit_button("Decompose", type="primary", icon=":material/function:", on_click=submitted)
