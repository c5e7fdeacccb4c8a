"""Table of passages, token by token, each token coloured by its coefficient.

It consists of real text. All text reaches the page through `textContent`, so that token text is never interpreted as
markup.
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
    """Return a component's script, preceded by the code that all components share."""
    return "".join((_FOLDER / each).read_text(encoding="utf-8") for each in ("page.js", name))


class Token(NamedTuple):
    """One token of a passage."""

    text: str
    """Its raw text."""
    coefficient: float | None = None
    """The atom's coefficient here; None where it does not fire."""
    is_centre: bool = False
    """Whether the passage is shown because of this token."""
    is_unread: bool = False
    """Whether the model did not read it."""
    is_match: bool = False
    """Whether it is what was searched for."""

    @property
    def is_plain(self) -> bool:
        """Return whether the token has neither a coefficient nor a mark."""
        return self.coefficient is None and not self.is_centre and not self.is_match


@dataclass(frozen=True)
class Row:
    """One passage, and its annotations."""

    tokens: Sequence[Token]
    """The passage."""
    cells: Sequence[str] = ()
    """Further columns, as text."""
    href: str | None = None
    """URL that a click on the row opens, relative to the app."""
    key: int | None = None
    """Value that a click returns to Python, for a row without a URL."""
    note: str = ""
    """Small text above the passage: its origin."""
    lead: str = ""
    """Small text before the passage: its number."""
    icon: str = ""
    """Name of the Material icon beside the text."""
    is_current: bool = False
    """Whether it links to what is shown now."""
    is_sought: bool = False
    """Whether the page scrolls to it when it is first shown."""
    below: Sequence[Token] = ()
    """A second passage, shown under the first."""
    sides: str = ""
    """The side of a comparison of the first passage, and of the second: `a`, `b`, or `ab` for instance."""
    links: Sequence[tuple[str, str, str]] = ()
    """Further links: text, URL relative to the app, and side (empty for none)."""


def token_strip(
    rows: Sequence[Row],
    *,
    key: str,
    columns: Sequence[str] = (),
    strongest: float | None = None,
    style: str = "list",
    numbers: bool = True,
) -> int | None:
    """Show passages; return the key of the row that was clicked just now, if any.

    Args:
        rows: the passages.
        key: identifies this strip on the page.
        columns: column headings, the passage's first; without any, no heading is shown.
        strongest: the absolute coefficient that gets the full colour; None takes the largest in `rows`.
        style: `list` for two lines per passage, or as many as hold its marked tokens, `passage` for a large one,
            `document` for a complete text with its line breaks, `table` for rows of plain cells, `links` for links as
            in the sidebar, `button` for a link that looks like a button.
        numbers: whether a coefficient is shown beside its token; False where a cell has it.
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
    """Merge adjacent plain tokens.

    A page with an element for every token of a document is slow.
    """
    return [
        merged
        for (is_plain, is_unread), run in groupby(tokens, lambda token: (token.is_plain, token.is_unread))
        for merged in ([Token("".join(token.text for token in run), is_unread=is_unread)] if is_plain else run)
    ]


def _shown(token: Token, scale: float, style: str, numbers: bool) -> list[Any]:
    """Return a token as sent to the page: text, tint in [-1, 1], number, marks.

    The format is compact, since a document has thousands of tokens.
    """
    text = visible(token.text)
    if style == "document":
        text = text.replace("↵", "↵\n")
    if token.is_unread:
        return [text, 0, "", "unread"]
    mark = " ".join(name for name, is_so in (("centre", token.is_centre), ("match", token.is_match)) if is_so)
    if token.coefficient is None:
        return [text, 0, "", mark]
    shown = number(token.coefficient) if numbers else ""
    return [text, round(max(-1.0, min(1.0, token.coefficient / scale)), 3), shown, mark]


_COMPONENT = v2.component(
    "itda_token_strip",
    css=sides.CSS + (_FOLDER / "token_strip.css").read_text(encoding="utf-8"),
    js=script("token_strip.js"),
    # Part of the page rather than a shadow tree, so that find-in-page, copying and screen readers treat it as text;
    # every class name of the style sheet has the component's prefix.
    isolate_styles=False,
)
