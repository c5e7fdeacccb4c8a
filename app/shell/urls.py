"""URLs of pages, relative to the app."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app.state import codec, pages

LIBRARY_PAGE, BUILD_PAGE, JOBS_PAGE = "views/library.py", "views/build.py", "views/jobs.py"


def change(kind: type[codec.PageState], **changes: Any) -> None:
    """Change some fields of a page's state, which is stored in the URL."""
    here = codec.decode(kind, st.query_params)
    st.query_params.from_dict(codec.encode(replace(here, **changes)))


@dataclass(frozen=True)
class Binding:
    """Binding of a page's widgets to its state in the URL."""

    kind: type[codec.PageState]
    """Class of the state."""
    name: str
    """Prefix of the widgets' keys."""
    unpaged: frozenset[str] | None = None
    """Fields whose change leaves the list on its page, where the state has a list: any other shows its first one."""

    def go(self, **changes: Any) -> None:
        """Change some fields of the state."""
        if self.unpaged is not None and "page" not in changes and not changes.keys() <= self.unpaged:
            changes["page"] = 1
        change(self.kind, **changes)

    def widget(self, name: str, value: Any) -> dict[str, Any]:
        """Return key and callback of a widget that shows a field and is set to the field's value."""
        key = f"{self.name}_{name}"
        st.session_state[key] = value
        return {"key": key, "on_change": lambda: self.go(**{name: st.session_state[key]})}


_PATHS: dict[type, str] = {
    pages.AtomsState: "atoms",
    pages.AtomState: "atom",
    pages.DecomposeState: "decompose",
    pages.CompareState: "compare",
    pages.SimilarityState: "similarity",
    pages.QualityState: "quality",
    pages.BuildState: "build",
}


def address(state: codec.PageState) -> str:
    """Return the URL of the page with this state."""
    query = urlencode(codec.encode(state))
    return f"{_PATHS[type(state)]}?{query}" if query else _PATHS[type(state)]


def atoms_address(dictionary_id: str, first: int | None = None) -> str:
    """Return the URL of a dictionary's atoms; with `first`, of only so many of the first atoms."""
    return address(pages.AtomsState(dictionary_id, first=first))


def atom_address(dictionary_id: str, atom: int) -> str:
    """Return the URL of one atom."""
    return address(pages.AtomState(dictionary_id, atom))


def decompose_address(dictionary_id: str, text: str = "") -> str:
    """Return the URL of a text decomposed with a dictionary; without a text, of the empty form."""
    return address(pages.DecomposeState(dictionary_id, text))
