"""Compare page: one text decomposed by both dictionaries."""

from app.panels.compare.address import go
from app.panels.compare.passage import passage
from app.panels.decompose.passage import text_of, to_decompose
from app.panels.text_form import show_text_form
from app.shell import chrome
from app.state import pages
from itda_core.common.errors import UserError


def show_passage(shown: pages.CompareState) -> None:
    """Show the user's text, as both dictionaries decompose it."""
    text = text_of(shown.passage, shown.kept)
    show_text_form(
        "compare_passage",
        text or "",
        go,
        ("passage", "kept"),
        placeholder="Any text, to see how both dictionaries decompose it",
        segment=None,
    )
    text = to_decompose(text, shown.kept)
    if not text:
        return
    try:
        passage(shown, text, lambda segment: go(segment=segment))
    except UserError as error:
        chrome.show_error(error)
