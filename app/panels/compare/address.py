"""Compare page: changes of its URL."""

from typing import Any

import streamlit as st

from app.shell import urls
from app.state import pages


def go(**changes: Any) -> None:
    """Change the page's state.

    A change that affects the list resets it to its first page.
    """
    if not changes.keys() & {"page", "ranking", "passage", "kept", "segment"}:
        changes["page"] = 1
    urls.change(pages.CompareState, **changes)


def widget(name: str, value: Any) -> dict[str, Any]:
    """Return key and callback of a widget bound to one field of the URL.

    The widget is set to that field's value.
    """
    key = f"compare_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: go(**{name: st.session_state[key]})}
