"""The pages over libraries in which a file is damaged, or closed to the reader: each says so, and shows the rest.

`ITDA_MUTATIONS` asks for that many mutations of each kind of file on each page, divided by a hundred.
"""

import json
import shutil
import zlib
from pathlib import Path

import pytest

from itda_core.library.library import Library
from tests.support.mutations import asked, mutations, put
from tests.support.other_user import closed, run_as_other
from tests.support.page_fixtures import OpenPage
from tests.support.shown_pages import shown
from tests.support.small_library import ID
from tests.support.whole_library import OTHER, files_of

PAGES: dict[str, dict[str, str]] = {
    "/": {},
    "/build": {},
    "/atoms": {"d": ID},
    "/atom": {"d": ID, "a": "1"},
    "/quality": {"d": ID},
    "/compare": {"d": ID, "e": OTHER},
    "/similarity": {"d": ID, "e": OTHER},
}
READ_BY = {
    "dictionary manifest": list(PAGES),
    "job state": ["/", "/build", "/quality"],
    "job command": ["/", "/build"],
    "job lock": ["/"],
    "corpus manifest": ["/", "/build"],
    "quality report": ["/quality"],
    "probing report": ["/quality"],
    "comparison": ["/compare"],
    "transplant": ["/compare"],
    "layers report": ["/similarity"],
    "SAE record": ["/quality"],
    "SAE report": ["/quality"],
}
"""Which pages read which kind of file."""


@pytest.fixture
def library(whole: Library, tmp_path: Path) -> Library:
    return Library(Path(shutil.copytree(whole.root, tmp_path / "library")))


@pytest.mark.parametrize("path", PAGES)
def test_each_page_of_the_whole_library(open_page: OpenPage, whole: Library, path: str) -> None:
    page = open_page(whole.root, path, **PAGES[path])
    assert not page.exception and not page.error


@pytest.mark.parametrize("kind", READ_BY)
def test_no_page_raises_over_a_damaged_file(open_page: OpenPage, whole: Library, kind: str) -> None:
    damaged = files_of(whole)[kind]
    sound = damaged.read_bytes()
    n = max(1, (asked() or 0) // 100)
    for number, content in enumerate(mutations(sound, zlib.crc32(kind.encode()) + 1, n)):
        put(damaged, content)
        try:
            # One page of those that read it, unless many mutations are asked for.
            for path in READ_BY[kind] if asked() else [READ_BY[kind][number % len(READ_BY[kind])]]:
                page = open_page(whole.root, path, **PAGES[path])
                assert not page.exception, (content, path)
        finally:
            put(damaged, sound)


@pytest.mark.parametrize(
    "change",
    [{"done": -5}, {"total": -2}, {"total": 10**400}, {"growth": {"a": [[1]]}}, {"rate": 5e-324, "total": 2**63 - 1},
     {"started": "yesterday"}, {}],
)  # fmt: skip
@pytest.mark.parametrize("status", ["running", "done"])
def test_no_state_of_a_job_stops_a_page(open_page: OpenPage, library: Library, change: dict, status: str) -> None:
    path = files_of(library)["job state"]
    path.write_text(json.dumps(json.loads(path.read_text()) | change | {"status": status} if change else {}))
    page = open_page(library.root)
    assert not page.exception
    assert page.title[0].value == "Library"


def test_an_unreadable_job_is_one_line_that_says_what_to_do(open_page: OpenPage, library: Library) -> None:
    path = files_of(library)["job state"]
    path.write_text("{}")
    for name in ("/", "/build"):
        assert not open_page(library.root, name).exception
    page = open_page(library.root, "/jobs")
    assert not page.exception
    (error,), (job,) = page.error, page.expander
    assert path.parent.name in job.label.replace("\\", "")
    assert "delete jobs" in error.value.replace("\\", "")


def test_a_newer_dictionary_is_not_to_be_deleted(open_page: OpenPage, library: Library) -> None:
    path = files_of(library)["dictionary manifest"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    page = open_page(library.root)
    assert not page.exception
    text = shown(page)
    assert "update ITDA Explorer" in text and "From a newer version" in text
    assert "delete" not in text


BEFORE = """
from tests.support.page_fixtures import MAIN, PAGES
from streamlit.testing.v1 import AppTest
import streamlit

def show(path, **params):
    page = AppTest.from_file(str(MAIN), default_timeout=60)
    if path != "/":
        page.run()
        page.switch_page(PAGES[path])
    for name, value in params.items():
        page.query_params[name] = value
    return page.run()

for path, params in shown.items():  # whatever they import lies where others may not read
    show(path, **params)
streamlit.cache_resource.clear(); streamlit.cache_data.clear()
"""
AFTER = """
for path, params in shown.items():
    page = show(path, **params)
    print(path, [each.message for each in page.exception], [each.value for each in page.error])
"""


@pytest.mark.slow
@pytest.mark.parametrize("whole_parts", [False, True])
def test_folders_closed_to_the_reader_leave_every_page_standing(
    opened: Library, monkeypatch: pytest.MonkeyPatch, whole_parts: bool
) -> None:
    monkeypatch.setenv("ITDA_LIBRARY", str(opened.root))
    monkeypatch.setenv("ITDA_NO_DEMO", "1")
    files = files_of(opened)
    folders = [files[kind].parent for kind in ("job state", "corpus manifest", "comparison")]
    if whole_parts:
        folders = [folder.parent for folder in folders]
    with closed(opened.folder(OTHER), *folders):
        done = run_as_other(f"shown = {PAGES!r}\n{BEFORE}", AFTER)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(PAGES), done.stderr
    assert all(line.split(" ", 1)[1].startswith("[] ") for line in lines), lines
    assert "Permission denied" in lines[0]
