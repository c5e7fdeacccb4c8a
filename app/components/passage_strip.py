"""Passage with selectable tokens, coloured by their reconstruction error.

The passage is decomposed by one dictionary or by two. All text reaches the page through `textContent`, so that token
text is never interpreted as markup.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.components import v2

from app.components.token_strip import script
from app.format.text import number, visible

_FOLDER = Path(__file__).parent
_STEPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


class Piece(NamedTuple):
    """One token of a passage."""

    text: str
    """Its text as part of the passage; empty for a later token of a character that several tokens make up."""
    label: str
    """Its text by itself."""
    error: float | None
    """Reconstruction error, in [0, 1]; None for a token that is not captured."""
    part: int = 1
    """Its position, from 1, among the tokens that make up its character."""


@dataclass(frozen=True)
class Group:
    """Tokens that are selected together.

    These are one token, or the tokens of two tokenisations between common boundaries.
    """

    lines: Sequence[Sequence[Piece]]
    """The tokens of each dictionary."""
    key: int | None
    """Value that a click returns; None where the group cannot be selected."""
    is_chosen: bool = False
    """Whether it is the selected group."""


def scale_of(errors: Sequence[float]) -> float:
    """Return the error that gets the full colour.

    It is the next round number not below the largest error, so that a legend can name it.
    """
    largest = max(errors, default=0.0)
    return next((step for step in _STEPS if step >= largest), 1.0)


def passage_strip(
    groups: Sequence[Group], *, key: str, scale: float, on_pick: Callable[[int], None], names: Sequence[str], rest: str
) -> None:
    """Show a passage.

    Args:
        groups: its tokens.
        key: identifies this strip on the page.
        scale: the error that gets the full colour.
        on_pick: callback with the key of the group that was clicked, called before the page reruns.
        names: names of the dictionaries, as many as a group has lines.
        rest: text that was not read.
    """

    def picked() -> None:
        value = st.session_state[key]["picked"]
        if value is not None:
            on_pick(int(value))

    data = {
        "names": [visible(name) for name in names],
        "groups": [_shown(group, scale) for group in groups],
        "rest": visible(rest).replace("↵", "↵\n"),
        "legend": {
            "label": "Reconstruction error, as a share of |x|²:",
            "low": "0",
            "high": f"{scale:g}",
        },
    }
    _COMPONENT(key=key, data=data, on_picked_change=picked)


def _shown(group: Group, scale: float) -> dict:
    pieces = [piece for line in group.lines for piece in line]
    is_inline = len(group.lines) == 1
    numbers = [number(piece.error) for piece in pieces if piece.error is not None]
    return {
        "lines": [[_token(piece, scale, is_inline) for piece in line] for line in group.lines],
        "key": group.key,
        "chosen": group.is_chosen,
        "note": " ".join(numbers) if group.is_chosen and is_inline else "",
        "label": _text_of(group.lines[0])
        if is_inline
        else " | ".join(f"{side} {_text_of(line)}" for side, line in zip("AB", group.lines, strict=True)),
        "breaks": not is_inline and any("\n" in piece.text for piece in pieces),
    }


def _text_of(line: Sequence[Piece]) -> str:
    """Return the tokens of one dictionary with their errors, for screen readers."""
    if not line:
        return "nothing"
    text = "".join(visible(piece.label) for piece in line)
    errors = ["not captured" if piece.error is None else number(piece.error) for piece in line]
    if set(errors) == {"not captured"}:
        return f"{text}, not captured"
    if len(errors) == 1:
        return f"{text}, error {errors[0]}"
    return f"{text}, errors {', '.join(errors[:-1])} and {errors[-1]}"


def _token(piece: Piece, scale: float, is_inline: bool) -> list:
    """Return a token as sent to the page: text, tint in [0, 1], tooltip, mark."""
    # A later token of a character shows its number as text, so that it is visible and can be clicked.
    text, mark = (visible(piece.text), "") if piece.text else (f"·{piece.part}", "part")
    if is_inline:
        text = text.replace("↵", "↵\n")
    if piece.error is None:
        return [text, 0, f"{visible(piece.label)}: not captured, the first token of a window", "skipped"]
    title = f"{visible(piece.label)}: error {number(piece.error)}"
    if mark:
        title += f", part {piece.part} of the character"
    return [text, round(min(1.0, piece.error / scale), 3), title, mark]


_COMPONENT = v2.component(
    "itda_passage_strip",
    css=(_FOLDER / "passage_strip.css").read_text(encoding="utf-8"),
    js=script("passage_strip.js"),
    isolate_styles=False,  # for the same reasons as in the token strip
)
