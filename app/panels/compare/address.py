"""Compare page: change its URL."""

from typing import Any

import streamlit as st

from app.shell import urls
from app.state import pages


def go(**changes: Any) -> None:
    """Change what the page shows; what changes the list starts it at its first page."""
    if not changes.keys() & {"page", "ranking", "passage", "kept", "segment"}:
        changes["page"] = 1
    urls.change(pages.CompareState, **changes)


def widget(name: str, value: Any) -> dict[str, Any]:
    """Key and callback of a widget that shows one field of the address, set to that field's value."""
    key = f"compare_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: go(**{name: st.session_state[key]})}
