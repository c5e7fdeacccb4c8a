"""Sidebar: the pages, the dictionaries that they show, and a way to an atom."""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from app import resources
from app.components.nav import NavItem, nav
from app.components.navigate import navigate
from app.format.text import inert
from app.shell import urls
from app.shell.chrome import dictionary_names, sound_records
from app.state import codec, pages
from itda_core.common.errors import UserError
from itda_core.jobs.read import read_jobs

_CHOSEN, _NEXT = "chosen_dictionaries", "next_address"
_OF_ONE, _OF_TWO = ("atoms", "atom", "decompose"), ("compare", "quality", "similarity")


class Chosen(NamedTuple):
    """Dictionaries that the pages show, kept from page to page."""

    a: str = ""
    """Id of the dictionary; empty without one."""
    b: str = ""
    """Id of the one that it is compared with; empty without one."""


def sidebar(page: str) -> None:
    """Show the sidebar; `page` is the URL path of the current page.

    A URL that names no dictionary is completed with the one that was chosen last, or with the first.
    """
    names = dictionary_names()
    chosen = _chosen(page, names)
    st.session_state[_CHOSEN] = chosen
    with st.sidebar:
        nav(_items(page, chosen, len(names)), key="pages")
        if names:
            _choice("Dictionary A" if len(names) > 1 else "Dictionary", "a", page, chosen, names)
        if len(names) > 1:
            _choice("Compare with B", "b", page, chosen, names)
        if chosen.a:
            _search(chosen.a)
        root = resources.library().root
        st.caption(f"Library {inert(root.name)}", help=inert(str(root)))
        if address := st.session_state.pop(_NEXT, ""):
            navigate(address, key="go_on")


def _chosen(page: str, names: dict[str, str]) -> Chosen:
    """Return the dictionaries of the URL, completed with those chosen before."""
    before = st.session_state.get(_CHOSEN, Chosen())
    before = Chosen(before.a if before.a in names else next(iter(names), ""), before.b if before.b in names else "")
    if page not in (*_OF_ONE, *_OF_TWO):
        return before
    if not st.query_params.get("d"):
        if page != "atom" and before.a and not st.query_params.get("e"):
            st.query_params["d"] = before.a
            if page in _OF_TWO and before.b:
                st.query_params["e"] = before.b
        return before
    a, b = st.query_params["d"], st.query_params.get("e", "") if page in _OF_TWO else before.b
    return Chosen(a if a in names else "", b if b in names or not b else before.b)  # b may be an SAE


def _items(page: str, chosen: Chosen, n: int) -> list[NavItem]:
    """Return the pages, each for the chosen dictionaries."""
    a, b = chosen
    states = Counter(job.status for job in read_jobs(resources.library().root) if not job.is_dismissed)
    failed = states["failed"] + states["lost"]
    badge = f"{states['running']} running" if states["running"] else f"{failed} failed" if failed else ""
    one, two = ("" if n else "needs a dictionary"), ("" if n > 1 else "needs two dictionaries")
    return [
        NavItem("Library", "grid_view", "./", page == ""),
        NavItem("Atoms", "list", urls.atoms_address(a), page in ("atoms", "atom"), reason=one),
        NavItem("Decompose", "function", urls.decompose_address(a), page == "decompose", reason=one),
        NavItem("Quality", "query_stats", urls.address(pages.QualityState(a, b)), page == "quality", reason=one),
        NavItem("Compare", "compare_arrows", urls.address(pages.CompareState(a, b)), page == "compare", reason=two),
        NavItem(
            "Similarity",
            "grid_on",
            urls.address(pages.SimilarityState(a, b)),
            page == "similarity",
            reason=two,
        ),
        NavItem("Build", "add", "build", page == "build"),
        NavItem("Jobs", "pending_actions", "jobs", page == "jobs", badge),
    ]


def _choice(label: str, side: str, page: str, chosen: Chosen, names: dict[str, str]) -> None:
    """Show the choice of a dictionary, which the current page then shows."""
    key = f"chosen_{side}"
    st.session_state[key] = getattr(chosen, side) or None

    def changed() -> None:
        now = chosen._replace(**{side: st.session_state[key] or ""})
        st.session_state[_CHOSEN] = now
        st.session_state[_NEXT] = _address(page, now)

    index = 0 if side == "a" and chosen.a else None  # there may be none to compare with, or an unknown one in the URL
    st.selectbox(label, list(names), index, names.__getitem__, key=key, placeholder="none", on_change=changed)


def _address(page: str, chosen: Chosen) -> str:
    """Return the URL of the current page for other dictionaries; empty if it shows none, or the same."""
    a, b = chosen
    if page in _OF_ONE and a == st.query_params.get("d"):
        return ""
    match page:
        case "atoms":
            here = _here(pages.AtomsState)
            return urls.address(pages.AtomsState(a, here.text, here.scope, here.sort))
        case "atom":
            return urls.atoms_address(a)
        case "decompose":
            return urls.address(_decomposed_by(a))
        case "quality":
            return urls.address(replace(_here(pages.QualityState), a=a, b=b, sae="", lines=None))
        case "compare":
            here = _here(pages.CompareState)
            kept = replace(here, a=a, b=b, page=1, atom_a=None, atom_b=None, segment=None, beside="match")
            return urls.address(kept)
        case "similarity":
            here = replace(_here(pages.SimilarityState), a=a, b=b, layer=None, other=None)
            return urls.address(here)
    return ""


def _decomposed_by(dictionary: str) -> pages.DecomposeState:
    """Return the Decompose page's state for another dictionary, of the same token where the tokenizer is the same."""
    here = _here(pages.DecomposeState)
    tokenizers = {record.id: record.tokenizer_sha256 for record in sound_records()}
    is_same = tokenizers.get(here.dictionary) == tokenizers.get(dictionary)
    return replace(here, dictionary=dictionary, token=here.token if is_same else None)


def _here(kind: type[codec.State]) -> codec.State:
    """Return the state in the URL; that of a new page if the URL is invalid."""
    try:
        return codec.decode(kind, st.query_params)
    except UserError:
        return kind()


def _search(dictionary: str) -> None:
    """Show the box that leads to an atom by its number, or to the atoms that a text is found in."""

    def entered() -> None:
        text = st.session_state["go_to_atom"].strip()
        st.session_state["go_to_atom"] = ""
        if not text:
            return
        is_number = text.isascii() and text.isdigit() and len(text) <= 9
        found = resources.library().record(dictionary).n_atoms if is_number else 0
        if is_number and int(text) < found:
            st.session_state[_NEXT] = urls.atom_address(dictionary, int(text))
        else:
            st.session_state[_NEXT] = urls.address(pages.AtomsState(dictionary, text))

    st.text_input(
        "Go to an atom",
        placeholder="number or words",
        icon=":material/search:",
        max_chars=200,
        key="go_to_atom",
        on_change=entered,
    )
