"""Atoms page: changes of its URL, and URLs of its atoms."""

from urllib.parse import urlencode

from app.shell.urls import Binding
from app.state import codec, pages

PAGE_ROWS = 50
"""Atoms on a page of the list."""
BINDING = Binding(pages.AtomsState, "atoms", frozenset({"colour", "pointer", "picked"}))
go, widget = BINDING.go, BINDING.widget


def atom_address(shown: pages.AtomsState, atom: int) -> str:
    """Return the URL of an atom of a list, relative to the app."""
    return "atom?" + urlencode(codec.encode(pages.AtomState(shown.dictionary, atom, shown.listed)))


def list_address(shown: pages.AtomsState) -> str:
    """Return the URL of a list of atoms, relative to the app."""
    return "atoms?" + urlencode(codec.encode(shown))
