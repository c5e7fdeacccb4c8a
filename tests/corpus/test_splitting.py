"""Cutting long texts into passages: nothing is lost, no passage is too long, and there are enough for a holdout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itda_core.corpus.splitting import SHORTEST, TOKEN_BYTES, passage_bytes, passages
from itda_core.corpus.windows import HOLDOUT

spaced = st.text(st.sampled_from("ab.!? \n\r\t\u3002\u00e9\U0001f600"), max_size=3000)


@given(spaced, st.integers(8, 600), st.integers(1, 700))
def test_passages_joined_are_the_text(text: str, size: int, piece: int) -> None:
    found = list(passages([text], size))
    assert "".join(found) == text
    assert all(found)
    assert max((len(passage.encode()) for passage in found), default=0) <= size
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    assert list(passages(pieces, size)) == found  # however it is read


@given(spaced, st.integers(2, 2000))
def test_a_text_has_a_passage_to_hold_out_unless_it_is_very_short(text: str, context: int) -> None:
    total = len(text.encode())
    size = passage_bytes(total, context)
    assert 0 < size <= context * TOKEN_BYTES
    found = list(passages([text], size))
    if total >= SHORTEST * HOLDOUT:
        assert len(found) >= HOLDOUT
    elif total <= context * TOKEN_BYTES:
        assert found == [text] * bool(text)


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("One.\n\nTwo.\n\nThree.\n", 12, ["One.\n\nTwo.\n\n", "Three.\n"]),  # paragraphs are joined
        ("A line\nand more\n\nof it\n", 16, ["A line\nand more\n", "\nof it\n"]),
        ("One. A line\nwith two.\r\n \r\n  Next", 30, ["One. A line\nwith two.\r\n \r\n", "  Next"]),
        ("First one. Second one is longer", 20, ["First one. ", "Second one is longer"]),
        ("He said \u201cno.\u201d Then he went", 20, ["He said \u201cno.\u201d ", "Then he went"]),
        (
            "\u8bed\u8a00\u3002\u6a21\u578b\u7684\u6fc0\u6d3b",
            15,
            ["\u8bed\u8a00\u3002", "\u6a21\u578b\u7684\u6fc0\u6d3b"],
        ),
        ("three words here", 12, ["three words ", "here"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("\u00e9" * 5, 3, ["\u00e9"] * 5),  # a character is never cut
        ("", 8, []),
    ],
)
def test_a_passage_ends_where_the_text_has_the_strongest_break(text: str, size: int, expected: list[str]) -> None:
    assert list(passages([text], size)) == expected
