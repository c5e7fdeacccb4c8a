"""The app on a port of its own, and a Chromium that walks through it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from tests.support.page_fixtures import MAIN

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 20_000


@contextmanager
def served(root: Path, demo: bool = False, **settings: str) -> Iterator[str]:
    """The app over a library, on a free port; its address. `demo` lets an empty library start the demo by itself, and
    the settings are variables of the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(MAIN), "--server.port", str(port)]
    environment = {**os.environ, "ITDA_LIBRARY": str(root), "PYTHONPATH": str(MAIN.parents[1]), **settings}
    environment["ITDA_NO_DEMO"] = "" if demo else "1"
    process = subprocess.Popen(
        command, cwd=MAIN.parents[1], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        host = settings.get("STREAMLIT_SERVER_ADDRESS", "localhost")
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


class Browser:
    """A page of Chromium that notes errors in the console and requests that leave the machine."""

    def __init__(self, page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.set_default_timeout(WAIT)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._watch)

    def _note(self, message) -> None:
        # A deep link makes Streamlit probe for itself under the page's own path first.
        is_probe = "404" in message.text and "_stcore" in message.location.get("url", "")
        if message.type == "error" and not is_probe:
            self.errors.append(f"{message.text} {message.location}")

    def _watch(self, request) -> None:
        if not request.url.startswith(("http://localhost:", "ws://localhost:", "data:", "blob:")):
            self.outside.append(request.url)

    def heading(self, text: str) -> None:
        """Wait for a page's title."""
        playwright.expect(self.page.locator("h1")).to_have_text(text, timeout=WAIT)

    def settle(self) -> None:
        """Wait until the page has run to its end, and half a second for what is drawn of it."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=6 * WAIT)
        self.page.wait_for_timeout(500)

    def assert_only_text(self) -> None:
        """Assert that no hostile text of the page has been taken for markup, and that every character is visible."""
        assert self.page.evaluate("window.hacked") is None
        assert self.page.locator("[data-testid=stMain] img, [data-testid=stMain] iframe, .katex").count() == 0
        assert self.page.evaluate(LINKS_ELSEWHERE) == 0
        shown = self.page.locator("[data-testid=stMain]").inner_text()
        assert not any(character in shown for character in "\x01\x1b\u200b\u202e\u2066")

    def press(self, label: str) -> None:
        """Click the page's own button of this label; a source in a list is a button too, and may hold the same word."""
        self.page.locator(f"[data-testid^=stBaseButton]:has(p:text-is('{label}'))").click()


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    """One Chromium for all tests of a file; it ends before those of others, which would find its event loop running."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_browser(chromium: playwright.Browser) -> Iterator[Callable[[str], Browser]]:
    """`open_browser(theme)` opens a page of a new profile."""
    with ExitStack() as contexts:

        def open_it(theme: str = "light") -> Browser:
            context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
            contexts.callback(context.close)
            return Browser(context.new_page())

        yield open_it


@pytest.fixture(scope="session")
def app_over() -> Iterator[Callable[[Path], str]]:
    """`app_over(root)` is the address of the app over a library, which all tests ask that change nothing."""
    with ExitStack() as servers:
        yield cache(lambda root: servers.enter_context(served(root)))


# Not those that only say so: the text of a passage is part of the link that decomposes it.
LINKS_ELSEWHERE = "[...document.links].filter((link) => link.hostname !== location.hostname).length"
