"""The Similarity page in a browser: choose a measure, click a cell, reach its atoms, go Back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from page_fixtures import records
from test_browser import CHROMIUM, WAIT, Browser, open_browser, served  # noqa: F401 - a fixture among them

playwright = pytest.importorskip("playwright.sync_api")

pytest_plugins = ("page_fixtures",)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


def test_a_cell_reaches_its_atoms(
    measured: Path,
    open_browser: Callable[[str], Browser],  # noqa: F811
) -> None:
    a, b = (record.id for record in records(measured) if record.site.layer == 3)
    browser = open_browser("light")
    page = browser.page
    with served(measured) as address:
        page.goto(f"{address}/similarity?d={a}&e={b}&layer=1&other=5")
        browser.heading("Similarity")
        page.get_by_role("heading", name="Layer 1 of A and layer 5 of B").wait_for()
        cells = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace").last.locator(".point")
        playwright.expect(cells).to_have_count(36, timeout=WAIT)
        page.wait_for_timeout(500)
        cells.nth(3 * 6 + 3).click(force=True)
        page.get_by_role("heading", name="Layer 3 of A and layer 3 of B").wait_for()
        page.wait_for_url("**layer=3*other=3*")
        page.get_by_text("Their shared atoms").click()
        page.wait_for_url("**/compare?*")
        browser.heading("Compare")
        page.locator(".itda-bar").wait_for()
        page.go_back()
        page.get_by_role("heading", name="Layer 3 of A and layer 3 of B").wait_for()
