"""Atoms page: changes of its URL, and URLs of its atoms."""

from app.shell.urls import Binding, address
from app.state import pages

PAGE_ROWS = 50
"""Atoms on a page of the list."""
BINDING = Binding(pages.AtomsState, "atoms", frozenset({"colour", "pointer", "picked"}))
go, widget = BINDING.go, BINDING.widget


def atom_address(shown: pages.AtomsState, atom: int) -> str:
    """Return the URL of an atom of a list, relative to the app."""
    return address(pages.AtomState(shown.dictionary, atom, shown.listed))
