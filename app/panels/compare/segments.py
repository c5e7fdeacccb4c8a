"""Compare page: one text decomposed by both dictionaries."""

import streamlit as st

from app.panels.compare.address import go
from app.panels.compare.passage import passage
from app.panels.decompose.passage import addressed, text_of, to_decompose
from app.shell import chrome
from app.state import pages
from itda_core.common.errors import UserError
from itda_core.decompose.passages import MOST_CHARACTERS


def show_passage(shown: pages.CompareState) -> None:
    """Show the user's text, as both dictionaries decompose it."""

    def submitted() -> None:
        text, kept = addressed(st.session_state["compare_passage"])
        go(passage=text, kept=kept, segment=None)

    st.subheader("Decompose a passage with both")
    text = text_of(shown.passage, shown.kept)
    if st.session_state.get("compare_passage_shown") != text or "compare_passage" not in st.session_state:
        # Only where the URL has another text: what the user typed and did not submit yet is not overwritten.
        st.session_state["compare_passage"], st.session_state["compare_passage_shown"] = text or "", text
    with st.form("compare_passage_form", border=False):
        st.text_area(
            "Text",
            key="compare_passage",
            height=80,
            max_chars=MOST_CHARACTERS,
            placeholder="Any text or code",
            label_visibility="collapsed",
        )
        st.form_submit_button("Decompose", icon=":material/function:", on_click=submitted)
    text = to_decompose(text, shown.kept)
    if not text:
        return
    try:
        passage(shown, text, lambda segment: go(segment=segment))
    except UserError as error:
        chrome.show_error(error)
