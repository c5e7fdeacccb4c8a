"""What a page under test shows."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import resources


def shown(page: AppTest) -> str:
    """All text of a page that Streamlit's own elements show."""
    kinds = (page.title, page.subheader, page.text, page.caption, page.markdown, page.error, page.metric, page.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def strips(page: AppTest) -> list[dict]:
    """Data of the token strips of a page, without the sidebar's links."""
    return [json.loads(strip.proto.json) for strip in page.main.get("bidi_component")]


def passages(page: AppTest) -> list[str]:
    """The text of every row of every token strip."""
    return ["".join(token[0] for token in row["tokens"]) for strip in strips(page) for row in strip.get("rows", ())]


def links(page: AppTest) -> list[str]:
    """Where the rows of the token strips lead."""
    return [row["href"] for strip in strips(page) for row in strip.get("rows", ()) if row["href"]]


def atom_links(page: AppTest) -> list[str]:
    """Those of them that lead to an atom."""
    return [link for link in links(page) if link.startswith("atom?")]


def labels(page: AppTest) -> list[str]:
    """What the page's buttons say."""
    return [button.label for button in page.button]


def pages_of(page: AppTest) -> dict[str, dict]:
    """The list of pages in the sidebar, by name."""
    sent = [json.loads(each.proto.json) for each in page.sidebar.get("bidi_component")]
    return {item["label"]: item for data in sent for item in data.get("items", ())}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """What the app would have started in processes of their own."""
    found: list[list[str]] = []
    folders: list[Path] = []

    def start(root: Path, arguments: list[str]) -> str:
        found.append(arguments)
        folders.append(root / "jobs" / "20260101-000000-abcdef")
        folders[-1].mkdir(parents=True, exist_ok=True)
        return "20260101-000000-abcdef"

    monkeypatch.setattr(resources, "start_detached", start)
    yield found
    for folder in folders:  # of a library that other tests share, for which this job would run on
        shutil.rmtree(folder, ignore_errors=True)
