"""The page that decomposes a text, in a browser: from typing one to a term's atom and back; hostile text stays text."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tests.support.browser import CHROMIUM, WAIT, Browser
from tests.support.page_fixtures import HOSTILE, records

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]

LOADED = 120_000  # the first text waits until torch and the model are there
TEXT = "The list comprehension returns a new list."


def test_from_a_text_to_a_token_to_a_term_and_back(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    record = next(each for each in records(library) if each.site.layer == 3)
    browser = open_browser("dark")
    page = browser.page
    expect = playwright.expect
    address = app_over(library)
    page.goto(f"{address}/atoms?d={record.id}")
    page.locator(f"a[href='decompose?d={record.id}']").click()
    browser.heading("Decompose a text")
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_role("button", name="Decompose", exact=True).click()
    page.wait_for_url(f"**text={quote_plus(TEXT)}")
    tokens = page.locator(".itda-p-group")
    tokens.first.wait_for(timeout=LOADED)
    assert "".join(page.locator(".itda-p-token").all_inner_texts()) == TEXT
    # A click chooses a token; the arrow keys go on from there.
    tokens.nth(3).click()
    page.wait_for_url("**&t=3")
    expect(page.locator("h3", has_text="Token 3,")).to_be_visible(timeout=WAIT)
    browser.settle()
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**&t=4")
    expect(page.locator(".itda-p-chosen")).to_have_attribute("data-key", "4", timeout=WAIT)
    browser.settle()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**&t=3")
    expect(page.locator("h3", has_text="Token 3,")).to_be_visible(timeout=WAIT)
    browser.settle()
    # In the text the same keys move the cursor.
    page.get_by_label("Text", exact=True).press("ArrowRight")
    page.wait_for_timeout(700)
    assert page.url.endswith("&t=3")
    chosen = page.url
    page.reload()
    expect(page.locator(".itda-p-chosen")).to_have_attribute("data-key", "3", timeout=LOADED)
    expect(page.get_by_label("Text", exact=True)).to_have_value(TEXT)
    browser.settle()
    # A term leads to its atom, and Back to the token.
    term = page.locator("a.itda-link[href^='atom?']").first
    atom = str(term.get_attribute("href")).rpartition("=")[2]
    term.click()
    browser.heading(f"Atom {atom}")
    page.go_back()
    page.wait_for_url(chosen)
    expect(page.locator(".itda-p-chosen")).to_have_attribute("data-key", "3", timeout=LOADED)
    page.go_back()
    page.wait_for_url("**&t=4")
    expect(page.locator(".itda-p-chosen")).to_have_attribute("data-key", "4", timeout=WAIT)
    # What is typed and not sent yet stays, whatever token is chosen.
    browser.settle()
    page.get_by_label("Text", exact=True).fill("not sent yet")
    tokens.nth(2).click()
    page.wait_for_url("**&t=2")
    browser.settle()
    expect(page.get_by_label("Text", exact=True)).to_have_value("not sent yet")
    # A token can be chosen without a mouse.
    page.locator(".itda-p-chosen").focus()
    page.keyboard.press("Enter")
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(700)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.outside == []
    assert browser.errors == []


def test_a_long_text_survives_a_reload(
    library: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    record = records(library)[0]
    page = open_browser("light").page
    text = "迭代器 is an iterator. " * 120
    address = app_over(library)
    page.goto(f"{address}/decompose?d={record.id}")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Decompose", exact=True).click()
    page.wait_for_url("**&kept=*")
    page.locator(".itda-p-group").first.wait_for(timeout=LOADED)
    page.reload()
    page.locator(".itda-p-group").first.wait_for(timeout=LOADED)
    playwright.expect(page.get_by_label("Text", exact=True)).to_have_value(text)


def test_hostile_text_stays_text(
    hostile: Path, open_browser: Callable[[str], Browser], app_over: Callable[[Path], str]
) -> None:
    record = records(hostile)[0]
    browser = open_browser("light")
    page = browser.page
    address = app_over(hostile)
    for at, text in enumerate(HOSTILE):
        page.goto(f"{address}/decompose?d={record.id}&text={quote_plus(text)}&t={3 + at}")
        page.locator(".itda-p-chosen").wait_for(timeout=LOADED)
        page.locator("a.itda-link[href^='atom?']").first.wait_for()
        browser.settle()
        assert page.evaluate("window.hacked") is None
        assert page.locator("[data-testid=stMain] img, [data-testid=stMain] iframe, .katex").count() == 0
        assert page.locator("a[href*='outside.invalid']").count() == 0
        shown = page.locator(".itda-p-text").inner_text()
        assert not any(character in shown for character in "\x01\x1b\u200b\u202e\u2066")
    assert browser.outside == []
    assert browser.errors == []
