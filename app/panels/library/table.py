"""Library page: tables of dictionaries, damaged folders and corpora."""

import streamlit as st

from app import resources
from app.components.token_strip import Row, Token, token_strip
from app.format.text import count, inert, number
from app.shell import chrome, urls, widgets
from itda_core.build.remove import comparisons_of, remove_dictionary
from itda_core.common.errors import UserError
from itda_core.corpus.store import Corpus
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary


def show_table(records: list[DictionaryManifest]) -> None:
    """Show settings and quality of every dictionary, each row a link to its atoms."""
    columns = [
        "Dictionary",
        "atoms",
        "relative error",
        "variance explained",
        "measured on",
        "threshold",
        "L0",
        "scan",
        "initial atoms",
        "tokens",
        "corpus",
        "revision",
    ]
    names = chrome.dictionary_names()
    rows = [
        Row(
            [Token(names[record.id])],
            [
                count(record.n_atoms),
                number(record.relative_error),
                number(record.variance_explained),
                f"{count(record.measured_tokens)} {'held out' if record.holdout else 'seen'}",
                widgets.threshold_of(record),
                str(record.settings.l0),
                record.settings.scan,
                record.settings.init,
                count(record.n_tokens),
                record.corpus,
                (record.revision or "local")[:12],
            ],
            href=urls.atoms_address(record.id),
        )
        for record in records
    ]
    token_strip(rows, key="dictionaries", columns=columns, style="table")


def show_removal(ids: list[str]) -> None:
    """Show how to remove a dictionary, in a popover."""
    names = chrome.dictionary_names()
    with st.popover("Remove a dictionary", icon=":material/delete:", type="tertiary"):
        chosen = st.selectbox(
            "Dictionary", ids, None, lambda one: names.get(one) or one, placeholder="choose one", key="remove"
        )
        if chosen is None:
            return
        n = len(comparisons_of(resources.library(), chosen))
        st.text(f"It is removed from the disk, with its comparisons ({n}). Its corpus and SAEs stay.")
        st.button("Remove it", type="primary", on_click=_remove, args=[chosen])


def _remove(dictionary_id: str) -> None:
    try:
        remove_dictionary(resources.library(), dictionary_id)
    except UserError as error:
        st.toast(inert(str(error)), icon=":material/error:")


def show_damaged(damaged: list[InvalidDictionary]) -> None:
    """Show the dictionaries that cannot be opened, and what to do."""
    is_all_newer = all(each.is_newer for each in damaged)
    st.subheader("From a newer version" if is_all_newer else "Damaged")
    for each in damaged:
        st.error(
            f"**{inert(each.id)}**: {inert(each.reason)}",
            icon=":material/update:" if each.is_newer else ":material/broken_image:",
        )
    if is_all_newer:
        return
    st.text("Build a damaged dictionary again with the same settings, or remove it.")


def show_corpora() -> None:
    """Show the corpora, as ingested."""
    found = resources.corpora()
    if not found:
        return
    st.subheader("Corpora")
    rows = [
        Row(
            [Token(corpus.id)],
            [
                corpus.settings.spec,
                count(corpus.n_documents),
                count(corpus.n_characters),
                f"{'first' if corpus.cut.windows == 'first' else 'all windows of'} {corpus.cut.context} tokens",
            ],
        )
        for corpus in found
        if isinstance(corpus, Corpus)
    ]
    if rows:
        columns = ["Corpus", "read from", "documents", "characters", "read of each document"]
        token_strip(rows, key="corpora", columns=columns, style="table")
    for error in found:
        if isinstance(error, UserError):
            st.error(inert(str(error)), icon=":material/broken_image:")
