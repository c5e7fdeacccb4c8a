"""A newcomer's first start, from an empty library to a real atom on screen; the seconds are printed, not judged."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from itda_core.jobs.read import read_jobs
from tests.support.browser import ARGUMENTS, CHROMIUM, served

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]
PATIENCE = 300_000


def open_first_atom(page) -> None:
    """From a dictionary's atoms to one of them."""
    page.locator("[data-testid=stMain] a[href*='atom?']").first.click(timeout=PATIENCE)
    page.get_by_role("heading", name="Source", exact=True).wait_for(timeout=PATIENCE)
    page.get_by_role("heading", name="Top examples").wait_for(timeout=PATIENCE)


def stop_jobs(root: Path) -> None:
    for job in read_jobs(root):
        if job.status == "running" and job.pid is not None:
            os.kill(job.pid, signal.SIGTERM)
    while any(job.status == "running" for job in read_jobs(root)):
        time.sleep(0.1)


def test_from_nothing_to_a_real_atom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "library"
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            begun = time.perf_counter()
            with served(root, demo=True) as address:
                page = chromium.new_page()
                page.goto(address)
                page.locator("[data-testid=stMain] a[href*='atoms?d=smollm2']").first.click(timeout=PATIENCE)
                open_first_atom(page)
                shipped = time.perf_counter() - begun
                page.goto(address)
                page.get_by_role("link", name=re.compile("^Read ")).click(timeout=PATIENCE)
                open_first_atom(page)
                first = time.perf_counter() - begun
                page.close()
            stop_jobs(root)  # the demo outlives the app; what it has finished stays whole
            begun = time.perf_counter()
            with served(root) as address:
                page = chromium.new_page()
                page.goto(address)
                page.locator("[data-testid=stMain] a[href*='atoms?']").first.click(timeout=PATIENCE)
                open_first_atom(page)
                later = time.perf_counter() - begun
        finally:
            stop_jobs(root)
            chromium.close()
    with capsys.disabled():
        print(
            f"\nan atom on screen {shipped:.1f} s after the first start, one that it built {first:.1f} s after it, and "
            f"{later:.1f} s after a later start"
        )
