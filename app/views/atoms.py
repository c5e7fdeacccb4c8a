"""The page of all atoms."""

from collections.abc import Callable

import streamlit as st

from app import resources
from app.format.text import inert, visible
from app.panels.atoms.filters import show_filters
from app.panels.atoms.list import show_list
from app.panels.atoms.map import selected_on_map, show_map
from app.shell import chrome, widgets
from app.state import codec, pages
from itda_core.common.errors import UserError
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index


def show_header(record: DictionaryManifest, index: Index) -> None:
    """Show the dictionary's name, links and summary."""
    settings = record.settings
    name = chrome.dictionary_names()[record.id]
    st.title(inert(name))
    st.set_page_config(page_title=f"Atoms, {visible(name)}")
    if not record.has_text:
        st.text(
            f"{record.n_atoms:,} atoms, imported without a text: it is known which are alike, and neither where they "
            "came from nor where they fire. Import them again with --model and --corpus for that."
        )
        return
    held = "held-out tokens" if record.holdout else "tokens"
    st.text(
        f"{record.n_atoms:,} atoms from {record.n_tokens:,} tokens of {record.corpus}, admitted over an error of "
        f"{widgets.threshold_of(record)}; with {settings.l0} steps they {widgets.explained_of(record)} on "
        f"{record.measured_tokens:,} {held}."
    )
    if record.energy is not None and settings.center == "none" and (note := record.energy.note()):
        st.caption(f"{note}.")
    if record.norms is not None and (note := record.norms.note()):
        st.caption(f"{note}.")


def changed_address(error: UserError, reset: Callable[[], None]) -> None:
    """Show that the URL cannot be read, and a button that resets it."""
    st.title("Atoms")
    chrome.show_error(error)
    st.button("Start without filters", on_click=reset)


def show_atoms() -> None:
    """Show the complete page."""
    try:
        shown = codec.decode(pages.AtomsState, st.query_params)
    except UserError as error:
        wanted = st.query_params.get("d", "")
        changed_address(error, lambda: st.query_params.from_dict({"d": wanted}))
        return
    if not shown.dictionary:
        chrome.show_no_dictionary("Atoms")
        return
    record = resources.library().record(shown.dictionary)
    index = resources.index(record.id)
    show_header(record, index)
    show_filters(shown, index)
    selected = selected_on_map(record, shown.region)
    matching = index.matching(shown.where(selected), *pages.SORTS[shown.order])
    left, right = st.columns([2, 3], gap="medium")
    with left:
        show_map(record, shown, index, matching)
    with right:
        show_list(record, shown, index, matching)


with chrome.errors_shown():
    show_atoms()
