"""Build page: a text of the user's own as the corpus, uploaded or pasted."""

import streamlit as st

from app import resources
from app.format.text import inert
from app.panels.build.fields import go
from app.state.pages import BuildState
from itda_core.common.errors import UserError
from itda_core.corpus.uploads import keep_upload

_KINDS = ("txt", "md", "jsonl", "ndjson", "json", "csv", "tsv", "parquet")

_OF_CORPUS = ("column", "split", "config", "corpus_revision", "documents")


def show_own_text() -> None:
    """Show a popover that takes a file or a pasted text, keeps it with the library, and makes it the corpus."""
    with st.popover("Upload or paste a text", icon=":material/upload_file:", type="tertiary"):
        st.file_uploader("File", type=_KINDS, key="own_file", on_change=_uploaded)
        with st.form("own_text_form", border=False):
            st.text_area("Or paste", key="own_text", height=140, placeholder="Text; several pages are better than one")
            st.form_submit_button("Use this text", icon=":material/check:", on_click=_pasted)


def _uploaded() -> None:
    file = st.session_state["own_file"]
    if file is not None:
        _use(file.name, file.getvalue())


def _pasted() -> None:
    text = st.session_state["own_text"]
    if text.strip():
        _use("pasted.txt", text.encode())


def _use(name: str, data: bytes) -> None:
    try:
        usual = BuildState()
        as_it_is = {field: getattr(usual, field) for field in _OF_CORPUS}  # what the corpus before was read by
        go(corpus=str(keep_upload(resources.library().root, name, data)), **as_it_is)
    except UserError as error:
        st.toast(inert(str(error)), icon=":material/error:")
