"""The Quality page in a browser: a click on a point reaches its atoms, Back and reload, small screens, and the CSV."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from itda_core.library.library import Library
from itda_core.reports.quality import Quality, Series, write_quality
from itda_core.reports.sae import WEIGHTS_FILE
from tests.support.browser import CHROMIUM, WAIT, Browser, served
from tests.support.page_fixtures import HOSTILE, records
from tests.support.quality_fixtures import SAE_ID, report, sizes_of, write_sae

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]


def test_a_point_reaches_its_atoms(
    with_reports: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
) -> None:
    first, _ = (record for record in records(with_reports) if record.site.layer == 3)
    small, *_ = sizes_of(first)
    browser = open_browser("light")
    page = browser.page
    address = app_over(with_reports)
    page.goto(f"{address}/quality?d={first.id}&lines=all")
    browser.heading("How good is this dictionary?")
    # Against size, of the first line: its own atoms at the largest L0, from the smallest size on.
    points = page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .trace").first.locator(".point")
    playwright.expect(points).to_have_count(3, timeout=WAIT)
    page.wait_for_timeout(500)
    points.nth(0).click(force=True)
    page.wait_for_url(f"**/atoms?d={first.id}&first={small}")
    playwright.expect(page.get_by_text(f"{small:,} of {first.n_atoms:,} atoms")).to_be_visible(timeout=WAIT)
    page.go_back()
    browser.heading("How good is this dictionary?")
    page.wait_for_url("**/quality?*lines=all*")
    playwright.expect(points).to_have_count(3, timeout=WAIT)
    page.wait_for_timeout(1000)
    assert "/quality?" in page.url  # the click is not taken for a new one
    points.nth(2).click(force=True)
    page.wait_for_url(f"**/atoms?d={first.id}")
    page.go_back()
    browser.heading("How good is this dictionary?")
    # What is chosen lives in the address: Back and reload keep it.
    browser.settle()
    page.get_by_role("radio", name="dead latents").click()
    page.wait_for_url("**by=dead*")
    page.get_by_text("active on none of the measured tokens").first.wait_for()
    page.reload()
    page.get_by_role("radio", name="dead latents", checked=True).wait_for()
    # By keyboard: the table of points has the same links.
    page.get_by_text("Every point", exact=True).click()
    link = page.locator(f"[data-testid=stExpander] a[href='atoms?d={first.id}&first={small}']").first
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/atoms?d={first.id}&first={small}")
    assert browser.errors == []
    assert browser.outside == []


def test_an_sae_opens_its_entry(
    with_reports: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
) -> None:
    first, _ = (record for record in records(with_reports) if record.site.layer == 3)
    browser = open_browser("light")
    page = browser.page
    address = app_over(with_reports)
    page.goto(f"{address}/quality?d={first.id}&tab=saes")
    page.locator(f"a.itda-link[href='quality?d={first.id}&e={SAE_ID}']").click()
    page.wait_for_url(f"**e={SAE_ID}*")
    page.get_by_role("heading", name="A is worse than B").wait_for()
    dots = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace").last.locator(".point")
    playwright.expect(dots).to_have_count(1, timeout=WAIT)
    page.wait_for_timeout(500)
    dots.click(force=True)
    page.wait_for_url(f"**sae={SAE_ID}*")
    entry = page.locator(".st-key-sae_entry")
    entry.wait_for()
    playwright.expect(entry).to_be_in_viewport(timeout=WAIT)
    # The page stays there for as long as it stands.
    page.wait_for_timeout(1500)
    assert page.url.count("sae=") == 1
    page.go_back()
    playwright.expect(entry).to_have_count(0, timeout=WAIT)
    assert browser.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_two_dictionaries_on_a_small_screen(
    with_reports: Path,
    open_browser: Callable[[str], Browser],
    app_over: Callable[[Path], str],
    theme: str,
) -> None:
    first, second = (record for record in records(with_reports) if record.site.layer == 3)
    browser = open_browser(theme)
    page = browser.page
    page.set_viewport_size({"width": 400, "height": 900})
    address = app_over(with_reports)
    page.goto(f"{address}/quality?d={first.id}&e={second.id}&lines=all")
    browser.heading("How good is this dictionary?")
    plots = page.locator(".js-plotly-plot")
    playwright.expect(plots).to_have_count(2, timeout=WAIT)
    page.get_by_text("Every point", exact=True).click()
    page.locator("[data-testid=stExpander] .itda-link").first.wait_for()
    for plot in plots.all():
        box = plot.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 400
    assert page.locator(".stMain").evaluate("e => e.scrollWidth - e.clientWidth") == 0
    button = page.locator(".st-key-points_csv button")
    with page.expect_download() as started:
        button.click()
    rows = list(csv.DictReader(started.value.path().read_text().splitlines()))
    assert {row["side"] for row in rows} == {"A", "B"}
    (own,) = (
        row
        for row in rows
        if (row["side"], row["series"], row["latents"], row["l0"]) == ("A", "own atoms", str(first.n_atoms), "8")
    )
    assert float(own["CE loss score"]) == pytest.approx(0.74)
    assert float(own["CE loss score low"]) == pytest.approx(0.73)
    assert browser.errors == []
    assert browser.outside == []


def test_hostile_text_stays_text(
    hostile: Path,
    tmp_path: Path,
    open_browser: Callable[[str], Browser],
) -> None:
    root = tmp_path / "library"
    shutil.copytree(hostile, root)
    here, record = Library(root), records(root)[0]
    found = report(record, 0.05)
    strangers = [Series(text, found.series[0].points[:2]) for text in HOSTILE]
    write_quality(replace(found, series=(*found.series, *strangers)), here.folder(record.id))
    for at, text in enumerate(HOSTILE):
        said = {"kind": text, "release": text, "sae_id": text, "corpus": text, "versions": {text: text}}
        weights = write_sae(here, record, f"sae-{at}", **said).files[WEIGHTS_FILE]
        write_quality(
            Quality(f"sae-{at}", 9, 9, 2.0, 7.0, tuple(strangers), 1.0, of_sha256=weights), here.saes / f"sae-{at}"
        )
    browser = open_browser("light")
    page = browser.page
    with served(root) as address:
        for at in range(len(HOSTILE)):
            for tab, part in ((f"&sae=sae-{at}", ".st-key-sae_entry"), ("", ".st-key-points_csv")):
                page.goto(f"{address}/quality?d={record.id}&e=sae-{at}{tab}")
                page.locator(part).first.wait_for(state="attached")
                browser.settle()
                browser.assert_only_text()
    assert browser.outside == []
    assert browser.errors == []
