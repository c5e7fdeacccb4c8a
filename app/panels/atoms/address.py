"""Atoms page: change its URL."""

from typing import Any

import streamlit as st

from app.shell import urls
from app.state import pages


def go(**changes: Any) -> None:
    """Change what the page shows; a changed filter starts at the first page of the list."""
    if "page" not in changes and not changes.keys() <= {"colour", "pointer", "picked"}:
        changes["page"] = 1
    urls.change(pages.AtomsState, **changes)


def widget(name: str, value: Any) -> dict[str, Any]:
    """Key and callback of a widget that shows one field of the address, set to that field's value."""
    key = f"atoms_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: go(**{name: st.session_state[key]})}
