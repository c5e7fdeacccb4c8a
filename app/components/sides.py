"""Sides of a comparison: A on the left, B on the right, each with one colour."""

from typing import NamedTuple


class Side(NamedTuple):
    """Colour of a side.

    It is distinguishable, also by colour-blind readers, from the other side's colour and from the colours of signs.
    """

    light: str
    """Its shade on a light page, on which white text is legible."""
    dark: str
    """Its shade on a dark page, on which black text is legible."""


A, B = Side("#6b46b8", "#b79df3"), Side("#74690a", "#d2c44e")

LINES = {"a": "#8b66d8", "b": "#92861a"}
"""The sides' colours in figures, which are the same on light and dark pages: a contrast of 3:1 or more on either."""

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
"""The colours as CSS custom properties, prepended to the style sheet of every component that shows a side."""
