"""Atom page: title, previous and next atom, downloads."""

import json
from dataclasses import asdict, replace
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from app.format.text import count, inert, number, visible
from app.panels.atoms.address import PAGE_ROWS
from app.panels.atoms.filters import RANGES, SCOPES, SORTS
from app.panels.atoms.map import selected_on_map
from app.shell import chrome, widgets
from app.shell.urls import address, change
from app.state import codec, pages
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Atom, Index

MOST_DOWNLOADED = 100_000


def show_header(record: DictionaryManifest, atom: Atom, index: Index) -> None:
    """Show the title, the way up to the atom's list, previous and next atom of it, and the permanent link.

    Without a list in the URL, it is the one of all atoms, in its usual order.
    """
    shown = codec.decode(pages.AtomState, st.query_params)
    listed = replace(shown.listed, dictionary=record.id)
    where = listed.where(selected_on_map(record, listed.region))
    here = index.place(where, *pages.SORTS[listed.order], atom.atom)
    page = -(-here.place // PAGE_ROWS) if here else 1
    with st.container(horizontal=True, vertical_alignment="center"):
        name = chrome.dictionary_names()[record.id]
        widgets.link(name, address(replace(listed, page=page)), "arrow_back", key="up")
        st.space("stretch")
        show_step("Previous", "Left", "chevron_left", here and here.previous)
        place = f"{here.place:,} of {here.total:,}" if here else "not in the list"
        st.caption(place, help=inert(described(listed)), width="content")
        show_step("Next", "Right", "chevron_right", here and here.next)
        show_downloads(record, atom, index)
    st.title(f"Atom {atom.atom}")
    st.set_page_config(page_title=f"Atom {atom.atom}, {visible(name)}")


def show_step(name: str, key: str, icon: str, atom: int | None) -> None:
    """Show a button that goes to another atom of the list; None disables it."""
    st.button(
        name,
        shortcut=key,
        icon=f":material/{icon}:",
        icon_position="right" if name == "Next" else "left",
        disabled=atom is None,
        on_click=change,
        args=(pages.AtomState,),
        kwargs={"atom": atom},
    )


def described(listed: pages.AtomsState) -> str:
    """Describe a list of atoms: what it is searched for, by which filters it is narrowed, and its order."""
    parts = [f"“{listed.text}” {SCOPES[listed.scope]}"] if listed.text else ["all atoms"]
    parts += [
        f"{RANGES[name].lower()} from {number(each[0])} to {number(each[1])}"
        for name in RANGES
        if (each := getattr(listed, name))
    ]
    parts += [f"only the first {count(listed.first)}"] if listed.first else []
    parts += ["selected on the map"] if listed.region else []
    return ", ".join([*parts, SORTS[listed.order]])


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
