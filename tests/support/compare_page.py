"""What the Compare page under test shows."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.support.page_fixtures import records
from tests.support.shown_pages import strips


def pair_of(root: Path) -> tuple[str, str]:
    """Ids of layer 3 of the two models."""
    a, b = (record.id for record in records(root) if record.site.layer == 3)
    return a, b


def bar(page: AppTest) -> list[dict]:
    """The parts of the bar."""
    return next(strip["parts"] for strip in strips(page) if "parts" in strip)


def listed(page: AppTest, columns: str) -> list[dict]:
    """The rows of the strip whose first heading this is."""
    return next(strip["rows"] for strip in strips(page) if strip.get("columns", [])[:1] == [columns])
