"""The Compare page in a browser: choose two in the library, filter by the bar, open a match, go Back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from itda_core.library.library import Library
from itda_core.queries.pairs import Pair
from tests.support.browser import CHROMIUM, WAIT, Browser
from tests.support.page_fixtures import records

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]

LOADED = 120_000  # the first text waits until torch and the models are there


def pair_of(root: Path) -> tuple[str, str]:
    a, b = (record.id for record in records(root) if record.site.layer == 3)
    return a, b


def test_select_filter_open_a_match_and_go_back(
    compared: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
) -> None:
    a, b = pair_of(compared)
    counts = Pair(*(Library(compared).index_path(each) for each in (a, b)), "token").counts()
    browser = open_browser("light")
    page = browser.page
    address = app_over(compared)
    # Two cells of the library, chosen one after the other: layer 3 of the upper and of the lower row.
    page.goto(f"{address}/?click=compare")
    page.get_by_text("Select dictionary A").wait_for()
    cells = page.locator(".js-plotly-plot .scatterlayer .point")
    cells.nth(1).click(force=True)
    page.get_by_text("Select dictionary B").wait_for()
    page.wait_for_timeout(500)
    cells.nth(2).click(force=True)
    page.wait_for_url("**/compare?d=*&e=*")
    browser.heading("Compare")
    assert {f"d={a}", f"e={b}"} == set(page.url.partition("?")[2].split("&"))
    # The bar is the filter.
    word = page.locator(".itda-bar-word.itda-part-a")
    playwright.expect(word).to_contain_text(f"{counts.a:,}", timeout=WAIT)
    page.locator(".itda-bar-part.itda-part-a").click()
    page.wait_for_url("**part=a*")
    page.get_by_role("heading", name="Atoms only in A").wait_for()
    playwright.expect(page.locator(".itda-bar-word.itda-current")).to_contain_text("only in A")
    page.get_by_label("Search both sides").fill("the")
    page.get_by_label("Search both sides").press("Enter")
    page.wait_for_url("**text=the*")
    page.locator(".itda-bar-note").first.wait_for()
    # A row opens the atom beside its best match.
    filtered = page.url
    page.wait_for_timeout(1000)
    page.locator("table:has(th:text('Source in A')) tr:has(a.itda-side-b) a.itda-link").first.click()
    page.wait_for_url("**a=*")
    page.get_by_text("Back to the lists").wait_for()
    playwright.expect(page.locator(".itda-style-passage")).to_have_count(2, timeout=WAIT)
    page.go_back()
    page.get_by_role("heading", name="Atoms only in A").wait_for()
    assert page.url == filtered
    playwright.expect(page.get_by_label("Search both sides")).to_have_value("the", timeout=WAIT)
    # So does a twin; its atom page is one click from the list.
    page.go_back()
    page.go_back()
    page.get_by_role("heading", name="Atoms with the same source").wait_for()
    page.wait_for_timeout(1000)
    link = page.locator("a.itda-further-link.itda-side-b").first
    atom = (link.get_attribute("href") or "").rpartition("=")[2]
    link.click()
    browser.heading(f"Atom {atom}")
    page.go_back()
    browser.heading("Compare")
    page.reload()
    page.get_by_role("heading", name="Atoms with the same source").wait_for()
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.outside == []
    assert browser.errors == []


def test_every_part_of_a_passage_is_reached_and_chosen_by_the_keyboard(
    library: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
) -> None:
    a, b = pair_of(library)
    browser = open_browser("light")
    page = browser.page
    expect = playwright.expect
    address = app_over(library)
    page.goto(f"{address}/compare?d={a}&e={b}&passage=The+list+comprehension+returns")
    groups = page.locator(".itda-p-group[data-key]")
    groups.first.wait_for(timeout=LOADED)
    n = groups.count()
    assert n > 3
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    # The passage is one step of the Tab key, behind its button.
    page.get_by_role("button", name="Decompose", exact=True).focus()
    page.keyboard.press("Tab")
    expect(groups.nth(0)).to_be_focused()
    for at in range(1, n):
        page.keyboard.press("ArrowRight")
        expect(groups.nth(at)).to_be_focused()
    page.keyboard.press("ArrowRight")  # there is no further one
    expect(groups.nth(n - 1)).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**&s=1")
    expect(page.locator(".itda-p-chosen")).to_have_attribute("data-key", "1", timeout=WAIT)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    # What was drawn anew has the focus still.
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**&s=2")
    expect(page.locator(".itda-p-chosen")).to_have_attribute("data-key", "2", timeout=WAIT)
    page.keyboard.press("End")
    expect(groups.nth(n - 1)).to_be_focused()
    assert browser.outside == []
    assert browser.errors == []
