"""The library page of a first start: something to read at once, and a way on where the demo or the copy failed."""

from pathlib import Path

import pytest

from app import resources
from app.panels import jobs
from itda_core.common.errors import DamagedError
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.library.starter import add_starter
from tests.support.page_fixtures import OpenPage
from tests.support.shown_pages import links, shown


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that pages started, none of which really runs."""
    found: list[tuple[str, ...]] = []

    def start(*arguments: str) -> str:
        found.append(arguments)
        return "20260101-000000-abcdef"

    monkeypatch.setattr(resources, "start", start)
    return found


def test_a_pretrained_dictionary_is_there_at_once(open_page: OpenPage, tmp_path: Path, started: list) -> None:
    page = open_page(tmp_path, demo=True)
    assert not page.exception and not page.error
    (found,) = Library(tmp_path).ids()
    assert f"atoms?d={found}" in links(page) and started[0] == ("demo",)
    page = open_page(tmp_path, "/atoms", d=found)
    assert not page.exception and "explain 76 % of the variance" in shown(page)


def test_it_is_not_copied_where_no_demo_is_wanted(open_page: OpenPage, tmp_path: Path, started: list) -> None:
    page = open_page(tmp_path)
    assert not page.exception and not Library(tmp_path).ids() and not started
    assert [button.label for button in page.button][:1] == ["Build the demo"]


def test_a_demo_that_failed_can_be_tried_again(open_page: OpenPage, tmp_path: Path, started: list) -> None:
    (found,) = add_starter(Library(tmp_path))
    with pytest.raises(RuntimeError), running_job(tmp_path, "The demo", "20260101-000000-abcdef"):
        raise RuntimeError("no luck")
    page = open_page(tmp_path, demo=True)
    assert not page.exception and "could not be built" in shown(page) and f"atoms?d={found}" in links(page)
    next(button for button in page.button if button.label == "Try again").click().run()
    assert started == [("demo",)]


def test_a_copy_that_failed_is_told_and_the_demo_is_built(
    open_page: OpenPage, tmp_path: Path, started: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(library: Library) -> list[str]:
        raise DamagedError("it is damaged: clone it again")

    monkeypatch.setattr(jobs, "add_starter", refuse)
    page = open_page(tmp_path, demo=True)
    assert not page.exception and "clone it again" in page.error[0].value and started[0] == ("demo",)
