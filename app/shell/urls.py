"""URLs of pages."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app.state import codec, pages

LIBRARY_PAGE, ATOMS_PAGE, BUILD_PAGE = "views/library.py", "views/atoms.py", "views/build.py"
COMPARE_PAGE, DECOMPOSE_PAGE, SIMILARITY_PAGE = "views/compare.py", "views/decompose.py", "views/similarity.py"
QUALITY_PAGE = "views/quality.py"


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


def atoms_address(dictionary_id: str, first: int | None = None) -> str:
    """Return the URL of a dictionary's atoms, relative to the app.

    With `first`, it lists only so many of the first atoms.
    """
    return "atoms?" + urlencode(codec.encode(pages.AtomsState(dictionary_id, first=first)))


def atom_address(dictionary_id: str, atom: int) -> str:
    """Return the URL of one atom, relative to the app."""
    return "atom?" + urlencode(codec.encode(pages.AtomState(dictionary_id, atom)))


def decompose_address(dictionary_id: str, text: str = "") -> str:
    """Return the URL of a text decomposed with a dictionary, relative to the app.

    Without a text, it is the URL of the empty form.
    """
    return "decompose?" + urlencode(codec.encode(pages.DecomposeState(dictionary_id, text)))


def build_address(form: pages.BuildState) -> str:
    """Return the URL of the Build page with its form filled, relative to the app."""
    return "build?" + urlencode(codec.encode(form))


def compare_address(shown: pages.CompareState) -> str:
    """Return the URL of two dictionaries side by side, relative to the app."""
    return "compare?" + urlencode(codec.encode(shown))


def quality_address(shown: pages.QualityState) -> str:
    """Return the URL of a dictionary's quality page, relative to the app."""
    return "quality?" + urlencode(codec.encode(shown))
