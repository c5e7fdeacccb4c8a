"""What the Compare page under test shows."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.support import shown_pages
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


@pytest.fixture
def bars_are_no_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helpers of page tests read the rows of every component; the bar has none."""

    def with_rows(page: AppTest) -> list[dict]:
        return [{"rows": []} | json.loads(strip.proto.json) for strip in page.main.get("bidi_component")]

    monkeypatch.setattr(shown_pages, "strips", with_rows)
