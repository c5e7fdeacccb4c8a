"""Atoms page: changes of its URL."""

from app.shell.urls import Binding
from app.state import pages

BINDING = Binding(pages.AtomsState, "atoms", frozenset({"colour", "pointer", "picked"}))
go, widget = BINDING.go, BINDING.widget
