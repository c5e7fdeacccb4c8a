"""Decompose page: header and text field."""

import streamlit as st

from app.format.text import visible
from app.panels.decompose.address import go
from app.panels.decompose.passage import addressed
from app.shell import chrome
from itda_core.decompose.passages import MOST_CHARACTERS
from itda_core.library.manifest import DictionaryManifest


def show_header(record: DictionaryManifest) -> None:
    """Show the link back, the title, an explanation, and the choice of dictionary."""
    names = chrome.dictionary_names()
    chrome.dictionary_link(record.id, names[record.id], icon="arrow_back")
    st.title("Decompose a text", help="The activation at each token as a sparse weighted sum of atoms and a residual.")
    st.set_page_config(page_title=f"Decompose, {visible(names[record.id])}")

    def changed() -> None:
        chosen = st.session_state["decompose_dictionary"]
        # With another tokenizer, the same token number is another place. The dictionary may have been deleted.
        tokenizers = {one.id: one.tokenizer_sha256 for one in chrome.sound_records()}
        is_same = tokenizers.get(chosen) == record.tokenizer_sha256
        go(dictionary=chosen, **({} if is_same else {"token": None}))

    st.session_state["decompose_dictionary"] = record.id
    st.selectbox(
        "Dictionary",
        list(names),
        format_func=names.__getitem__,
        key="decompose_dictionary",
        on_change=changed,
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
            placeholder="Any text or code",
        )
        st.form_submit_button("Decompose", type="primary", icon=":material/function:", on_click=submitted)
