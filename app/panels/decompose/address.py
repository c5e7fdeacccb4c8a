"""Decompose page: changes of its URL."""

from app.shell.urls import Binding
from app.state import pages

go = Binding(pages.DecomposeState, "decompose").go
