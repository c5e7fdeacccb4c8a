"""The app in a browser: a walk through its pages in both themes, and hostile text that must stay text."""

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.format.names import names
from tests.support.browser import CHROMIUM, LINKS_ELSEWHERE, WAIT, Browser, playwright, served
from tests.support.page_fixtures import records

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_walk_through_the_pages(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str], theme: str
) -> None:
    first = records(library)[0]
    browser = open_browser(theme)
    page = browser.page
    address = app_over(library)
    page.goto(address)
    browser.heading("Library")
    # A cell of the grid opens its atoms, and Back comes to the grid as it was.
    page.goto(f"{address}/?measure=atoms")
    page.locator(".js-plotly-plot .scatterlayer .point").first.click(force=True)
    page.wait_for_url("**/atoms?d=*")
    page.go_back()
    page.wait_for_url("**measure=atoms")
    browser.heading("Library")
    # So does a row of the table.
    page.locator(f"[data-testid=stMain] a.itda-link[href='atoms?d={first.id}']").click()
    page.wait_for_url(f"**/atoms?d={first.id}")
    page.locator("[data-testid=stMain] a.itda-link").first.wait_for()
    page.get_by_label("Search").fill("the")
    page.get_by_label("Search").press("Enter")
    page.wait_for_url("**text=the*")
    listed = page.locator("[data-testid=stMain] a.itda-link[href^='atom?']")
    listed.first.wait_for()
    page.wait_for_timeout(1000)
    hrefs = [str(listed.nth(at).get_attribute("href")) for at in range(3)]
    atom, second, third = (dict(parse_qsl(urlsplit(href).query))["a"] for href in hrefs)
    listed.first.click()
    browser.heading(f"Atom {atom}")
    playwright.expect(page.get_by_role("heading", name="Source", exact=True)).to_be_visible()
    browser.press("Next")
    browser.heading(f"Atom {second}")
    page.keyboard.press("ArrowRight")
    browser.heading(f"Atom {third}")
    page.go_back()
    browser.heading(f"Atom {second}")
    page.reload()
    browser.heading(f"Atom {second}")
    page.go_back()
    browser.heading(f"Atom {atom}")
    page.go_back()
    page.wait_for_url("**text=the*")
    playwright.expect(page.get_by_label("Search")).to_have_value("the", timeout=WAIT)
    # The whole document is one click away from a source.
    page.goto(f"{address}/atom?d={first.id}&a=0")
    browser.press("Whole document")
    playwright.expect(page.get_by_role("dialog").locator(".itda-centre")).to_have_count(1, timeout=WAIT)
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.outside == []
    assert browser.errors == []


MARKS = """[...document.querySelectorAll('.itda-style-list .itda-tokens')].map((passage) => {
    const frame = passage.getBoundingClientRect();
    return [...passage.querySelectorAll('.itda-centre, .itda-match')].every((mark) => {
        const box = mark.getBoundingClientRect();
        return box.height && frame.top - 3 < box.top && box.bottom < frame.bottom + 3;
    });
})"""


def test_what_is_marked_in_a_list_is_in_sight_at_any_width(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    page = open_browser("light").page
    page.goto(f"{app_over(library)}/atoms?d={records(library)[0].id}&text=the+function&scope=context")
    page.locator("mark.itda-match").first.wait_for()
    for width in (1280, 390, 700):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(1000)
        seen = page.evaluate(MARKS)
        assert len(seen) > 5 and all(seen)


def test_a_selection_on_the_map_filters_the_list(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    first = records(library)[0]
    browser = open_browser("light")
    page = browser.page
    address = app_over(library)
    page.goto(f"{address}/atoms?d={first.id}&pointer=circle")
    area = page.locator(".js-plotly-plot .nsewdrag").first
    area.wait_for()
    page.wait_for_timeout(1500)
    box = area.bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.5, 0.02), (0.5, 0.98), (0.02, 0.98), (0.02, 0.03)]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()
    page.wait_for_url("**region=*")
    everything = f"{first.n_atoms:,} of {first.n_atoms:,} atoms"
    playwright.expect(page.get_by_text(f"of {first.n_atoms:,} atoms")).not_to_have_text(everything, timeout=WAIT)
    kept = page.get_by_text(f"of {first.n_atoms:,} atoms").inner_text()
    page.reload()
    playwright.expect(page.get_by_text(kept, exact=True)).to_be_visible(timeout=WAIT)
    assert browser.outside == []


def test_links_to_dictionaries_are_steps_of_the_history(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    first, second = records(library)[:2]
    page = open_browser("light").page
    address = app_over(library)
    # To the page that is open already, for another dictionary.
    filtered, other = (f"{address}/atoms?d={each.id}&text=value" for each in (first, second))
    page.goto(filtered)
    side = page.locator("[data-testid=stSidebar]")
    side.locator(f"a[aria-current][href='atoms?d={first.id}']").wait_for()
    side.get_by_role("combobox").first.click()
    page.get_by_role("option", name=names([first, second])[second.id], exact=True).click()
    page.wait_for_url(other)
    side.locator(f"a[aria-current][href='atoms?d={second.id}']").wait_for()
    page.reload()
    playwright.expect(page.get_by_text(f"of {second.n_atoms:,} atoms")).to_be_visible(timeout=WAIT)
    playwright.expect(page.get_by_label("Search")).to_have_value("value", timeout=WAIT)
    assert page.url == other
    page.go_back()
    page.wait_for_url(filtered)
    playwright.expect(page.get_by_label("Search")).to_have_value("value", timeout=WAIT)
    page.goto(address)
    # Enter on a row works although text is selected elsewhere.
    row = page.locator(f"[data-testid=stMain] a.itda-link[href='atoms?d={first.id}']")
    row.wait_for()
    page.wait_for_timeout(1500)
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    row.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/atoms?d={first.id}")


def test_a_list_is_scrolled_back_to_and_an_atom_begins_at_its_top(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    record = records(library)[0]
    browser = open_browser("light")
    page = browser.page
    page.goto(f"{app_over(library)}/atoms?d={record.id}")
    page.locator("[data-testid=stMain] a.itda-link[href^='atom?']").nth(40).wait_for()
    browser.settle()
    where = "document.querySelector('[data-testid=stMain]').scrollTop"
    page.locator("[data-testid=stMain] a.itda-link[href^='atom?']").nth(40).scroll_into_view_if_needed()
    place = page.evaluate(where)
    assert place > 300
    page.locator("[data-testid=stMain] a.itda-link[href^='atom?']").nth(40).click()
    page.wait_for_url("**/atom?*")
    page.get_by_role("heading", name="Source", exact=True).wait_for()
    assert page.evaluate(where) == 0
    page.go_back()
    page.wait_for_url("**/atoms?*")
    page.wait_for_function(f"Math.abs({where} - {place}) < 2")
    assert browser.errors == []


def test_an_atom_is_reached_from_the_sidebar_by_the_keyboard(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    record = records(library)[0]
    browser = open_browser("dark")
    page = browser.page
    page.goto(f"{app_over(library)}/atoms?d={record.id}")
    page.get_by_label("Go to an atom").fill("7")
    page.get_by_label("Go to an atom").press("Enter")
    browser.heading("Atom 7")
    pages = page.get_by_role("navigation", name="Pages")
    pages.get_by_role("link", name="Jobs").focus()
    page.keyboard.press("Enter")
    browser.heading("Jobs")
    pages.get_by_role("link", name="Atoms").click()
    page.wait_for_url(f"**/atoms?d={record.id}")
    page.go_back()
    browser.heading("Jobs")
    assert browser.errors == []


def test_hostile_text_stays_text(
    hostile: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    record = records(hostile)[0]
    browser = open_browser("light")
    page = browser.page
    address = app_over(hostile)
    for path in (
        "/",
        f"/atoms?d={record.id}",
        f"/atoms?d={record.id}&scope=context&text=%3Cimg%20src%3Dx%20onerror%3D'window.hacked%3D1'%3E",
        "/atoms?d=![x](http://outside.invalid/d.png)",
        *(f"/atom?d={record.id}&a={a}" for a in range(0, min(record.n_atoms, 40), 8)),
    ):
        page.goto(address + path)
        page.locator("h1, [data-testid=stAlert]").first.wait_for()
        browser.settle()
        browser.assert_only_text()
    page.get_by_text("Tokens it fires on most", exact=True).click()
    page.locator(".st-key-shares .itda-row, .st-key-shares_csv").first.wait_for()
    browser.settle()
    browser.assert_only_text()
    browser.press("Whole document")
    page.get_by_role("dialog").locator(".itda-centre").wait_for()
    assert page.evaluate("window.hacked") is None
    assert page.evaluate(LINKS_ELSEWHERE) == 0
    assert browser.outside == []
    assert browser.errors == []


REFUSALS = "window.refused = []; addEventListener('securitypolicyviolation', (event) => refused.push(event.blockedURI))"


def test_every_page_keeps_to_the_policy_that_confines_it(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    first, second = (record.id for record in records(library) if record.site.layer == 3)
    browser = open_browser("light")
    page = browser.page
    page.add_init_script(REFUSALS)
    address = app_over(library)
    for path, heading in (
        ("/", "Library"),
        (f"/atoms?d={first}", "docs-a · layer 3 resid"),
        (f"/atom?d={first}&a=0", "Atom 0"),
        (f"/compare?d={first}&e={second}", "Compare"),
        (f"/similarity?d={first}&e={second}", "Similarity"),
        (f"/quality?d={first}", "How good is this dictionary?"),
        ("/build", "Build"),
        (f"/decompose?d={first}&text=A+list+of+modules", "Decompose a text"),
    ):
        page.goto(address + path)
        browser.heading(heading)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=6 * WAIT)
        assert page.evaluate("refused") == []
    assert browser.errors == []
    # What gets past everything else still reaches nobody.
    page.evaluate("new Image().src = 'http://outside.invalid/x.png'; fetch('http://outside.invalid/y').catch(() => 0)")
    page.wait_for_function("refused.length >= 2")


def test_a_library_that_goes_away_under_a_page_is_said_in_a_line(
    library: Path, tmp_path: Path, open_browser: Callable[[str], Browser]
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    page = open_browser("light").page
    with served(root) as address:
        page.goto(f"{address}/decompose?d={records(root)[0].id}")
        page.get_by_role("combobox").first.click()
        root.rename(tmp_path / "elsewhere")
        root.write_text("not a folder")
        # What a widget calls runs before the page, outside of what the page says of errors.
        page.get_by_role("option").nth(1).click()
        playwright.expect(page.locator("[data-testid=stAlert]")).to_contain_text("is not a folder", timeout=WAIT)
        assert page.locator("[data-testid=stException]").count() == 0
