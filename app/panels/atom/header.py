"""Atom page: title, previous and next atom, downloads."""

import json
from dataclasses import asdict
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from app.format.text import visible
from app.shell import chrome, widgets
from app.state import codec, pages
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Atom, Index

MOST_DOWNLOADED = 100_000


def step(dictionary_id: str, atom: int) -> None:
    """Go to another atom of the same dictionary."""
    st.query_params.from_dict(codec.encode(pages.AtomState(dictionary_id, atom)))


def show_header(record: DictionaryManifest, atom: Atom, index: Index) -> None:
    """Show the title, the link back, previous and next atom, and the permanent link."""
    with st.container(horizontal=True, vertical_alignment="center"):
        chrome.dictionary_link(record.id, chrome.dictionary_names()[record.id], icon="arrow_back")
        st.space("stretch")
        st.button(
            "Previous",
            shortcut="Left",
            icon=":material/chevron_left:",
            disabled=atom.atom == 0,
            on_click=step,
            args=(record.id, atom.atom - 1),
        )
        st.button(
            "Next",
            shortcut="Right",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=atom.atom == index.n_atoms - 1,
            on_click=step,
            args=(record.id, atom.atom + 1),
        )
        show_downloads(record, atom, index)
    st.title(f"Atom {atom.atom}")
    st.set_page_config(page_title=f"Atom {atom.atom}, {visible(chrome.dictionary_names()[record.id])}")


def show_downloads(record: DictionaryManifest, atom: Atom, index: Index) -> None:
    """Show the permanent link to this atom, and downloads of its data."""

    def as_json() -> str:
        fired = index.activations(atom.atom, MOST_DOWNLOADED).to_dict("records")
        return json.dumps({"dictionary": record.id, **asdict(atom), "activations": fired}, ensure_ascii=False, indent=1)

    with st.popover("Link and data", icon=":material/share:"):
        st.caption("Permanent link")
        st.code(permanent_link(record.id, atom.atom), language=None, wrap_lines=True)
        st.caption(f"Every token it fires on, with document, position and coefficient ({MOST_DOWNLOADED:,} at most)")
        widgets.download(
            lambda: index.activations(atom.atom, MOST_DOWNLOADED),
            key="activations_csv",
            file=f"{record.id}-atom-{atom.atom}.csv",
            label="Activations as CSV",
        )
        st.download_button(
            "Activations as JSON",
            as_json,
            file_name=f"{record.id}-atom-{atom.atom}.json",
            mime="application/json",
            type="tertiary",
            icon=":material/download:",
            on_click="ignore",
        )


def permanent_link(dictionary_id: str, atom: int) -> str:
    """Return the absolute URL of an atom."""
    query = urlencode(codec.encode(pages.AtomState(dictionary_id, atom)))
    here = urlsplit(st.context.url or "")
    folder = here.path.rsplit("/atom", 1)[0]
    return urlunsplit((here.scheme, here.netloc, f"{folder}/atom", query, ""))
