"""Bar of two dictionaries: A only | both | B only, each part a link to its atoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamlit.components import v2

from app.components import sides
from app.components.token_strip import script
from app.format.text import count

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class BarPart:
    """One part of the bar."""

    part: str
    """`a`, `both` or `b`."""
    name: str
    """Its label."""
    size: int
    """Number of its atoms, or of its pairs of atoms."""
    href: str
    """URL that a click opens, relative to the app."""
    note: str = ""
    """Small text beside its label."""
    is_current: bool = False
    """Whether its atoms are listed now."""


def pair_bar(parts: Sequence[BarPart], *, key: str) -> None:
    """Show the bar; `key` identifies it on the page."""
    whole = max(1, sum(part.size for part in parts))
    data = {
        "parts": [
            {
                "part": part.part,
                "name": part.name,
                "count": count(part.size),
                "share": part.size / whole,
                "href": part.href,
                "note": part.note,
                "current": part.is_current,
            }
            for part in parts
        ]
    }
    _COMPONENT(key=key, data=data)


_COMPONENT = v2.component(
    "itda_pair_bar",
    css=sides.CSS + (_FOLDER / "pair_bar.css").read_text(encoding="utf-8"),
    js=script("pair_bar.js"),
    isolate_styles=False,  # every class name of the style sheet has the component's prefix
)
