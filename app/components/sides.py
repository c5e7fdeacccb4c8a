"""The two sides of every comparison: A always on the left, B always on the right, each with one colour everywhere."""

from typing import NamedTuple


class Side(NamedTuple):
    """A colour to be told from the other side's, and from the colours of signs, by colour-blind readers too."""

    light: str
    """On a light page, where white text is read on it."""
    dark: str
    """On a dark page, where black text is read on it."""


A, B = Side("#6b46b8", "#b79df3"), Side("#74690a", "#d2c44e")

LINES = {"a": "#8b66d8", "b": "#92861a"}
"""The same two as lines and points of figures, which are drawn alike on both pages: seen at 3:1 or more on either."""

_INK = Side("#ffffff", "#11171a")


def _by_theme(colour: Side) -> str:
    return f"light-dark({colour.light}, {colour.dark})"


CSS = f"""
.itda-strip, .itda-bar {{
  --itda-a: {_by_theme(A)};
  --itda-b: {_by_theme(B)};
  --itda-ink: {_by_theme(_INK)};
}}
.itda-side-a {{ --itda-side: var(--itda-a); }}
.itda-side-b {{ --itda-side: var(--itda-b); }}
"""
"""The colours as custom properties, put before the style sheet of every component that shows a side."""
