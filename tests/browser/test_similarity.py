"""The Similarity page in a browser: click a cell, reach its atoms, go Back; small screens, and the numbers as CSV."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM, WAIT, Browser
from tests.support.page_fixtures import records

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


def test_a_cell_reaches_its_atoms(
    measured: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
) -> None:
    a, b = (record.id for record in records(measured) if record.site.layer == 3)
    browser = open_browser("light")
    page = browser.page
    address = app_over(measured)
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


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_models_as_wholes_on_a_small_screen(
    measured: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
    theme: str,
) -> None:
    a, b = (record.id for record in records(measured) if record.site.layer == 3)
    browser = open_browser(theme)
    page = browser.page
    page.set_viewport_size({"width": 400, "height": 900})
    address = app_over(measured)
    page.goto(f"{address}/similarity?d={a}&e={b}")
    for tab, key, column, n in (
        ("These two models", "wholes_data", "chance", 2),
        ("How far to trust it", "bench_budgets_data", "x", 2),
        ("During training", "convergence_data", "step", 1),
    ):
        page.get_by_role("tab", name=tab).click()
        button = page.locator(f".st-key-{key} button")
        button.wait_for()
        with page.expect_download() as started:
            button.click()
        rows = list(csv.DictReader(started.value.path().read_text().splitlines()))
        assert rows and float(rows[-1][column]) > 0
        plots = page.locator(".js-plotly-plot")
        playwright.expect(plots).to_have_count(n, timeout=WAIT)
        for plot in plots.all():
            box = plot.bounding_box()
            assert box is not None and box["x"] + box["width"] <= 400
        assert page.locator(".stMain").evaluate("e => e.scrollWidth - e.clientWidth") == 0
    assert not browser.errors
    assert not browser.outside
