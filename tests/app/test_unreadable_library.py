"""A library that cannot be opened, or not all of it: one line on every page, and no traceback."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.page_fixtures import PAGES, OpenPage, records


@pytest.mark.parametrize("path", PAGES)
def test_a_library_that_cannot_be_opened_is_said_in_a_line(tmp_path: Path, open_page: OpenPage, path: str) -> None:
    page = open_page(tmp_path / ("x" * 300), path, d="x", text="a text")
    assert not page.exception
    assert [title.value for title in page.title] == ["This cannot be shown"]
    (error,) = page.error
    assert "cannot be used" in error.value and "ITDA" in error.value
    assert "\n" not in error.value


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("closed", [".", "dictionaries", "corpora", "jobs"])
def test_a_folder_that_may_not_be_read_is_said_in_a_line(
    library: Path, tmp_path: Path, open_page: OpenPage, closed: str, path: str
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    (root / closed).chmod(0)
    try:
        page = open_page(root, path, d=records(library)[0].id, text="a text")
        assert not page.exception
        assert all("\n" not in error.value for error in page.error)
    finally:
        (root / closed).chmod(0o700)
