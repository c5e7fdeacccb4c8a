"""Decompose page: change its URL."""

from typing import Any

from app.shell import urls
from app.state import pages


def go(**changes: Any) -> None:
    """Change what the page shows."""
    urls.change(pages.DecomposeState, **changes)
