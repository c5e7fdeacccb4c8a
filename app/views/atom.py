"""The page of one atom."""

import streamlit as st

from app import resources
from app.panels.atom.examples import show_range, show_top
from app.panels.atom.figures import show_figures, show_histogram
from app.panels.atom.header import show_header
from app.panels.atom.meaning import show_meaning
from app.panels.atom.relatives import show_relatives
from app.panels.atom.source import show_source
from app.shell import chrome, urls, widgets
from app.state import codec, pages
from itda_core.common.errors import UserError

_TABS = {"fires": "Where it fires", "range": "Range and lowest", "relatives": "Related atoms"}


def show_atom() -> None:
    """Show the complete page."""
    shown = codec.decode(pages.AtomState, st.query_params)
    if not shown.dictionary:
        chrome.show_no_dictionary("Atom")
        return
    record = resources.library().record(shown.dictionary)
    index = resources.index(record.id)
    if shown.atom is None:
        raise UserError(f"the address names no atom: a may be 0 to {index.n_atoms - 1}")
    atom = index.atom(shown.atom)
    show_header(record, atom, index)
    show_source(record, atom, index)
    with widgets.tabs("atom", _TABS, shown.tab, urls.Binding(pages.AtomState, "atom").go):
        if shown.tab == "fires":
            show_meaning(atom, index)
            show_top(atom, index)
        elif shown.tab == "range":
            show_figures(atom, record)
            show_histogram(atom, index)
            show_range(atom, index)
        else:
            show_relatives(record, atom, index)


with chrome.errors_shown():
    show_atom()
