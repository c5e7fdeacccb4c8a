"""Text from strangers, and numbers."""

import csv
import io

import pandas as pd
import pytest

from app.format.tables import csv_of
from app.format.text import count, duration, in_figure, inert, number, share, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", " the"),
        ("\n\n", "↵↵"),
        ("\ta", "→a"),
        ("\r\n", "␍↵"),
        ("\x00\x1b", "␀␛"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("\u202eabc\u2066", "⟨U+202E⟩abc⟨U+2066⟩"),
        ("\ufeff", "⟨U+FEFF⟩"),
        ("\u3164", "⟨U+3164⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("你好 é", "你好 é"),
        ("", ""),
    ],
)
def test_every_character_of_a_token_can_be_seen(token: str, shown: str) -> None:
    assert visible(token) == shown


def test_inert_text_has_no_bare_punctuation() -> None:
    text = inert("![x](http://a.b) $y$ :red[z] <img> **b** `c` www.a.b me@a.b\n# h")
    assert "\n" not in text
    for at, character in enumerate(text):
        if character in "![]()$<>*`#_|~:@.":
            assert text[at - 1] == "\\", text[: at + 1]
    # Addresses are found in finished text too, so they are parted.
    assert "http\\:\u2060" in text
    assert "www\u2060" in text
    assert "me\\@\u2060" in text


def test_labels_of_figures_are_escaped() -> None:
    assert in_figure("<b>&\n") == "&lt;b&gt;&amp;↵"


def test_no_csv_cell_starts_a_formula() -> None:
    bad = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "fine", 'a"b,c\nd', ""]
    rows = list(csv.reader(io.StringIO(csv_of(pd.DataFrame({"text": bad, "=name": range(len(bad))})), newline="")))
    assert rows[0] == ["text", "'=name"]
    assert [row[0] for row in rows[1:]] == [f"'{cell}" if cell[:1] in tuple("=+-@\t\r") else cell for cell in bad]


def test_numbers_stay_numbers_in_csv() -> None:
    frame = pd.DataFrame({"x": [-1.5, float("nan")], "n": [-3, 4]})
    assert csv_of(frame) == '"x","n"\n-1.5,-3\n"",4\n'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.00"),
        (0.06671, "0.0667"),
        (-3.14159, "\N{MINUS SIGN}3.14"),
        (12345.6, "12,346"),
        (None, "–"),
        (100.0, "100"),
        (999.4, "999"),
        (999.6, "1,000"),
        (-999.6, "\N{MINUS SIGN}1,000"),
        (-1234.5, "\N{MINUS SIGN}1,234"),
        (1.2e-9, "1.20e\N{MINUS SIGN}9"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_shares_counts_and_durations() -> None:
    assert [share(x) for x in (0, 0.00004, 0.0004, 0.0123, 0.5, None)] == [
        "0.0 %",
        "< 0.01 %",
        "0.04 %",
        "1.2 %",
        "50 %",
        "–",
    ]
    assert count(1234567) == "1,234,567"
    assert [duration(x) for x in (3.2, 75, 7200)] == ["3 s", "1 min 15 s", "2 h 00 min"]
