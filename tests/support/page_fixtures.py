"""Fixtures of the pages, a plugin of their test files: the app over a library, libraries in trouble, and one full of
hostile text. (Not a conftest.py, whose name would hide the one above. PYTEST_DONT_REWRITE: nothing is asserted here.)
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from itda_core.cli.command_line import main
from itda_core.common.types import Document
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from tests.support.builder import LibraryBuilder
from tests.support.built_once import BuildOnce

MAIN = Path(__file__).parents[2] / "app" / "main.py"
PAGES = {
    "/": "views/library.py",
    "/atoms": "views/atoms.py",
    "/atom": "views/atom.py",
    "/decompose": "views/decompose.py",
    "/build": "views/build.py",
    "/compare": "views/compare.py",
    "/similarity": "views/similarity.py",
    "/quality": "views/quality.py",
    "/jobs": "views/jobs.py",
}

OpenPage = Callable[..., AppTest]

HOSTILE = [
    "<script>window.hacked = 1</script> <img src=http://outside.invalid/x.png onerror=window.hacked=1> and plain text",
    "![image](http://outside.invalid/a.png) [link](http://outside.invalid) $x^2$ **bold** :red[red] :material/home:",
    '=HYPERLINK("http://outside.invalid","x") +1 @SUM(A1) \x01\x1b[31m control \x7f \u200b zero \u202e bidi \u2066 end',
    "<b>bold</b> &amp; <a href='http://outside.invalid'>a</a>\n# heading\n\n- list\n| a | b |\n|---|---|\n<iframe>",
    "مرحبا بالعالم 你好 世界 many scripts \r\n\t tabs and lines\n\n\nwww.outside.invalid me@outside.invalid the end",
]
"""Texts that act when they are taken for HTML, Markdown, LaTeX, a formula, or terminal and text controls."""


def follow(page: AppTest) -> AppTest:
    """Go where the sidebar leads after a choice, as the browser does."""
    sent = [json.loads(each.proto.json) for each in page.sidebar.get("bidi_component")]
    (href,) = (data["href"] for data in sent if "href" in data)
    path, _, query = href.partition("?")
    page.switch_page(PAGES[f"/{path}"])
    page.query_params.clear()
    for name, value in parse_qsl(query):
        page.query_params[name] = value
    return page.run()


def records(root: Path) -> list[DictionaryManifest]:
    """The sound dictionaries of a library."""
    return [record for record in Library(root).records() if isinstance(record, DictionaryManifest)]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """`open_page(root, path, **params)` runs a page of the app over a library."""
    st.cache_resource.clear()
    st.cache_data.clear()

    def open_it(root: Path, path: str = "/", *, demo: bool = False, **params: str) -> AppTest:
        monkeypatch.setenv("ITDA_LIBRARY", str(root))
        if demo:
            monkeypatch.delenv("ITDA_NO_DEMO", raising=False)
        else:
            monkeypatch.setenv("ITDA_NO_DEMO", "1")
        page = AppTest.from_file(str(MAIN), default_timeout=30)
        if path != "/":
            page.run()
            page.switch_page(PAGES[path])
        for name, value in params.items():
            page.query_params[name] = value
        return page.run()

    return open_it


@pytest.fixture
def damaged(library: Path, tmp_path: Path) -> Path:
    """A copy of the library whose first dictionary has an index cut short and whose second an unreadable manifest."""
    root = tmp_path / "damaged"
    shutil.copytree(library, root)
    first, second, *_ = records(library)
    index = root / "dictionaries" / first.id / "index.duckdb"
    index.write_bytes(index.read_bytes()[:5000])
    (root / "dictionaries" / second.id / "manifest.json").write_text("{")
    return root


@pytest.fixture(scope="session")
def measured(library: Path, build_once: BuildOnce) -> Path:
    """A copy of the library in which the layers of its two models are compared, as the page has it done."""
    return _with_report(library, build_once, "similarity")


@pytest.fixture(scope="session")
def compared(library: Path, build_once: BuildOnce) -> Path:
    """A copy of the library in which layer 3 of its two models was compared. Copy it before writing to it."""
    return _with_report(library, build_once, "compare")


@pytest.fixture(scope="session")
def transplanted(library: Path, build_once: BuildOnce) -> Path:
    """A copy of the library in which layer 3 of model A was carried over to model B, and nothing was compared."""
    return _with_report(library, build_once, "transplant")


def _with_report(library: Path, build_once: BuildOnce, command: str) -> Path:
    """A copy of a library in which a command was run on layer 3 of its two models."""

    def build(folder: Path) -> None:
        root = Path(shutil.copytree(library, folder / "library"))
        a, b = (record.id for record in records(root) if record.site.layer == 3)
        assert main([command, a, b, "--library", str(root)]) == 0

    return build_once(command, build) / "library"


@pytest.fixture(scope="session")
def hostile(build_library: LibraryBuilder, build_once: BuildOnce) -> Path:
    """A library built from hostile documents. Copy it before writing to it."""
    documents = [Document(text[:40], text) for text in HOSTILE]
    built = build_once("hostile", lambda folder: build_library(folder / "library", documents, tokens=1500, maps=True))
    return built / "library"
