"""Compare page: changes of its URL."""

from app.shell.urls import Binding
from app.state import pages

BINDING = Binding(pages.CompareState, "compare", frozenset({"ranking", "passage", "kept", "segment", "tab"}))
go, widget = BINDING.go, BINDING.widget
