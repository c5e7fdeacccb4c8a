"""The Build page in a browser: a dictionary built from it, a job that survives reload and restart, one that fails."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from itda_core.jobs.control import cancel
from itda_core.jobs.read import read_jobs
from itda_core.library.library import Library
from tests.support.browser import CHROMIUM, Browser, served

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]
PATIENCE = 300_000


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty library; what still runs in it at the end is cancelled."""
    yield tmp_path / "library"
    for job in read_jobs(tmp_path / "library"):
        if job.status == "running":
            cancel(tmp_path / "library", job.id)


def corpus(path: Path, documents: int) -> Path:
    words = Path(__file__).read_text().split()
    lines = [json.dumps({"text": " ".join(words[at % 100 : at % 100 + 150])}) for at in range(documents)]
    path.write_text("\n".join(lines))
    return path


def form(address: str, path: Path, **more: object) -> str:
    given = {"corpus": str(path), "layers": "1", "l0": 8, "tokens": 3000, **more}
    return f"{address}/build?{urlencode(given)}"


def test_a_dictionary_is_built_from_the_page(
    root: Path,
    tmp_path: Path,
    open_browser: Callable[[str], Browser],
) -> None:
    browser = open_browser("light")
    page = browser.page
    with served(root) as address:
        page.goto(form(address, corpus(tmp_path / "small.jsonl", 60)))
        page.get_by_text("Time unknown").wait_for(timeout=PATIENCE)
        page.get_by_role("button", name="Build", exact=True).click()
        page.wait_for_url("**job=*")
        page.get_by_role("button", name="This is being built").wait_for(timeout=PATIENCE)
        page.reload()
        link = page.get_by_role("link", name=re.compile(r"^Read docs-a · layer 1 resid"))
        link.wait_for(timeout=PATIENCE)
        (job,) = read_jobs(root)
        assert job.status in ("running", "done")
        link.click()
        page.wait_for_url("**/atoms?d=docs-a-l1-resid-*")
        # What was built is what the next estimate goes by.
        page.goto(form(address, tmp_path / "small.jsonl", layers="2"))
        page.get_by_text("Time estimated from the last run of docs-a").wait_for(timeout=PATIENCE)
    assert len(Library(root).ids()) == 1
    assert browser.outside == []
    assert browser.errors == []


def test_a_running_job_survives_reload_and_restart_and_is_cancelled(
    root: Path,
    tmp_path: Path,
    open_browser: Callable[[str], Browser],
) -> None:
    browser = open_browser("light")
    page = browser.page
    with served(root) as address:
        # Without centring, which reads all tokens before the first atom is there to be drawn.
        page.goto(form(address, corpus(tmp_path / "large.jsonl", 6_000), tokens=600_000, center="none"))
        page.get_by_role("button", name="Build", exact=True).click()
        page.get_by_text(re.compile("tokens a second")).wait_for(timeout=PATIENCE)
        page.locator(".js-plotly-plot").first.wait_for(timeout=PATIENCE)
        page.reload()
        page.get_by_text(re.compile("left in this step")).wait_for(timeout=PATIENCE)
        (job,) = read_jobs(root)
        page.goto("about:blank")  # a page whose server goes away says so in the console
    with served(root) as address:
        page.goto(f"{address}/build?job={job.id}")
        page.get_by_text(re.compile("tokens a second")).wait_for(timeout=PATIENCE)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Yes, cancel it").click()
        page.get_by_text(re.compile("large.jsonl, cancelled")).wait_for(timeout=PATIENCE)
        assert page.locator("[data-testid=stAlert]").count() == 0
        assert [job.status for job in read_jobs(root)] == ["cancelled"]
    assert Library(root).ids() == []
    assert browser.errors == []


def test_a_failed_job_keeps_its_reason_and_its_log_and_can_be_tried_again(
    root: Path,
    tmp_path: Path,
    open_browser: Callable[[str], Browser],
) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"caf\xe9 is not UTF-8")
    browser = open_browser("dark")
    page = browser.page
    with served(root) as address:
        page.goto(form(address, broken, layers="0-2", max_atoms=77))
        page.get_by_role("button", name="Build", exact=True).click()
        page.locator("[data-testid=stAlert]", has_text="not UTF-8").wait_for(timeout=PATIENCE)
        page.locator("[data-testid=stCode]", has_text="itda: ").first.wait_for(timeout=PATIENCE)
        page.get_by_role("link", name="Try again").click()
        page.wait_for_url("**max_atoms=77*")
        playwright.expect(page.get_by_role("textbox", name="Layers").first).to_have_value("0-2", timeout=PATIENCE)
        assert "job=" not in page.url
    assert browser.errors == []
