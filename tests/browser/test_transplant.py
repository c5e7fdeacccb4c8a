"""The transplant on the Compare page in a browser: beside an atom alone, chosen beside its twin, and Back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from itda_core.library.library import Library
from itda_core.queries.pair_filters import PairFilter
from itda_core.queries.pairs import Pair
from tests.support.browser import CHROMIUM, WAIT, Browser
from tests.support.page_fixtures import records

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


def test_an_atom_stands_beside_its_transplant(
    transplanted: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
) -> None:
    a, b = (record.id for record in records(transplanted) if record.site.layer == 3)
    pair = Pair(Library(transplanted).index_path(a), Library(transplanted).index_path(b), "token")
    lone = pair.page(PairFilter("a"), "density", True)["a"].tolist()[0]
    twins = pair.page(PairFilter("both"), "density", True)
    browser = open_browser("dark")
    page = browser.page
    address = app_over(transplanted)
    page.goto(f"{address}/compare?d={a}&e={b}&a={lone}")
    page.get_by_text(f"Transplant of atom {lone}, to docs-b").wait_for()
    playwright.expect(page.locator(".itda-style-passage")).to_have_count(2, timeout=WAIT)
    playwright.expect(page.locator(".itda-style-list")).to_have_count(2, timeout=WAIT)
    page.goto(f"{address}/compare?d={a}&e={b}&a={twins['a'].tolist()[0]}&b={twins['b'].tolist()[0]}")
    page.get_by_role("heading", name="The same source").wait_for()
    page.get_by_role("radio", name="A's atom in B").click()
    page.wait_for_url("**beside=a*")
    page.get_by_role("heading", name="A's atom and its transplant").wait_for()
    page.get_by_role("radio", name="B's atom in A").click()
    page.get_by_role("button", name="Transplant B's atoms").wait_for()
    page.go_back()
    page.get_by_role("heading", name="A's atom and its transplant").wait_for()
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.outside == []
    assert browser.errors == []
