"""Passages token by token, each token coloured by its coefficient, as one table of real text.

Everything that is shown reaches the page through `textContent`, so whatever a token says stays text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from streamlit.components import v2

from app.components import sides
from app.format.text import number, visible

_FOLDER = Path(__file__).parent


def script(name: str) -> str:
    """The script of a component, with what all of them share."""
    return "".join((_FOLDER / each).read_text(encoding="utf-8") for each in ("page.js", name))


class Token(NamedTuple):
    """One token of a passage."""

    text: str
    """Its text as read."""
    coefficient: float | None = None
    """The atom's coefficient here; None where it does not fire."""
    is_centre: bool = False
    """Whether the passage is shown because of this token."""
    is_unread: bool = False
    """Whether the model never read it."""

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to say of it but its text."""
        return self.coefficient is None and not self.is_centre


@dataclass(frozen=True)
class Row:
    """One passage, and what is said of it."""

    tokens: Sequence[Token]
    """The passage."""
    cells: Sequence[str] = ()
    """Further columns, as text."""
    href: str | None = None
    """Where a click on the row leads, relative to the app."""
    key: int | None = None
    """What a click hands back to Python, where the row leads nowhere."""
    note: str = ""
    """Small text above the passage: where it is from."""
    lead: str = ""
    """Small text before the passage: its number."""
    icon: str = ""
    """Name of the Material icon beside the text."""
    is_current: bool = False
    """Whether it leads to what is read now."""
    is_sought: bool = False
    """Whether the page scrolls to it when it first shows it."""
    below: Sequence[Token] = ()
    """A second passage, under the first."""
    sides: str = ""
    """The side of a comparison that the first passage, and the second, belongs to: `a`, `b`, or `ab` for instance."""
    links: Sequence[tuple[str, str, str]] = ()
    """Further places that it leads to: text, address relative to the app, and side (empty for none)."""


def token_strip(
    rows: Sequence[Row],
    *,
    key: str,
    columns: Sequence[str] = (),
    strongest: float | None = None,
    style: str = "list",
    numbers: bool = True,
) -> int | None:
    """Show passages; returns the key of the row that was clicked just now.

    Args:
        rows: the passages.
        key: names this strip on the page.
        columns: headings, the passage's first; none shows no heading.
        strongest: the absolute coefficient that gets the full colour; None takes the largest there is.
        style: `list` for one line a passage, `passage` for a large one, `document` for a whole text with its lines,
            `table` for rows of plain cells, `links` for links as the sidebar has them, `button` for a link that looks
            like a button.
        numbers: whether a coefficient stands beside its token; not where a cell has it.
    """
    scale = strongest or max((abs(t.coefficient) for row in rows for t in row.tokens if t.coefficient), default=1.0)
    is_whole = style == "document"
    data = {
        "style": style,
        "columns": list(columns),
        "rows": [
            {
                "tokens": [
                    _shown(token, scale, style, numbers) for token in (_merged(row.tokens) if is_whole else row.tokens)
                ],
                "cells": [visible(cell) for cell in row.cells],
                "key": row.key,
                "href": row.href,
                "note": visible(row.note),
                "lead": visible(row.lead),
                "icon": row.icon,
                "current": row.is_current,
                "sought": row.is_sought,
                "below": [_shown(token, scale, style, numbers) for token in row.below],
                "sides": row.sides,
                "links": [[visible(text), href, side] for text, href, side in row.links],
            }
            for row in rows
        ],
    }
    width = "content" if style in ("links", "button") else "stretch"
    return _COMPONENT(key=key, data=data, width=width, on_picked_change=lambda: None).picked


def _merged(tokens: Sequence[Token]) -> list[Token]:
    """Plain neighbours as one, since a page with an element for every token of a document is slow."""
    return [
        merged
        for (is_plain, is_unread), run in groupby(tokens, lambda token: (token.is_plain, token.is_unread))
        for merged in ([Token("".join(token.text for token in run), is_unread=is_unread)] if is_plain else run)
    ]


def _shown(token: Token, scale: float, style: str, numbers: bool) -> list[Any]:
    """A token as the page gets it: text, tint in [-1, 1], number, marks; short, since a document has thousands."""
    text = visible(token.text)
    if style == "document":
        text = text.replace("↵", "↵\n")
    if token.is_unread:
        return [text, 0, "", "unread"]
    mark = "centre" if token.is_centre else ""
    if token.coefficient is None:
        return [text, 0, "", mark]
    shown = number(token.coefficient) if numbers else ""
    return [text, round(max(-1.0, min(1.0, token.coefficient / scale)), 3), shown, mark]


_COMPONENT = v2.component(
    "itda_token_strip",
    css=sides.CSS + (_FOLDER / "token_strip.css").read_text(encoding="utf-8"),
    js=script("token_strip.js"),
    # Part of the page rather than a shadow tree, so that find-in-page, copying and screen readers treat it as text;
    # every class name of the style sheet carries the component's prefix.
    isolate_styles=False,
)
