"""A whole document on screen: long ones in parts, plain text in few elements."""

from pathlib import Path

from app.components.token_strip import Token, _merged
from itda_core.common.types import Document
from tests.support.page_fixtures import OpenPage, records


def test_plain_neighbours_become_one() -> None:
    marked = Token(" c", 2.0)
    centre = Token(" d", None, is_centre=True)
    unread = Token(" e", is_unread=True)
    merged = _merged([Token("a"), Token(" b"), marked, centre, Token("x"), unread])
    assert merged == [Token("a b"), marked, centre, Token("x"), unread]


def test_a_long_document_is_shown_in_parts(
    tmp_path: Path, build_library, open_page: OpenPage, language_reference: list[Document]
) -> None:
    longest = max(language_reference, key=lambda document: len(document.text))
    root = build_library(tmp_path / "library", [longest])
    (record,) = records(root)
    page = open_page(root, "/atom", d=record.id, a="5")
    next(button for button in page.button if button.label == "Whole document").click().run()
    assert not page.exception
    said = "\n".join(str(caption.value) for caption in page.caption)
    assert "Tokens 0 to 127 of 128." in said
    assert "characters the first 20,000 are shown." in said
