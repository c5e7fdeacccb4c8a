"""Decompose page: changes of its URL."""

from typing import Any

from app.shell import urls
from app.state import pages


def go(**changes: Any) -> None:
    """Change the page's state."""
    urls.change(pages.DecomposeState, **changes)
