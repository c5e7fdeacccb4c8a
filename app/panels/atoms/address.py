"""Atoms page: changes of its URL."""

from typing import Any

import streamlit as st

from app.shell import urls
from app.state import pages


def go(**changes: Any) -> None:
    """Change the page's state; a changed filter resets the list to its first page."""
    if "page" not in changes and not changes.keys() <= {"colour", "pointer", "picked"}:
        changes["page"] = 1
    urls.change(pages.AtomsState, **changes)


def widget(name: str, value: Any) -> dict[str, Any]:
    """Return key and callback of a widget bound to one field of the URL.

    The widget is set to that field's value.
    """
    key = f"atoms_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: go(**{name: st.session_state[key]})}
