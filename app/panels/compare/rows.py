"""Compare page: atoms of two dictionaries as rows of its lists."""

from dataclasses import replace
from typing import Any

import pandas as pd

from app.components.token_strip import Row, Token
from app.format.text import count, number, share
from app.shell import urls
from app.state import pages


def mirrored(part: str) -> str:
    """Return the part that has the same atoms once A and B are swapped."""
    return {"a": "b", "b": "a"}.get(part, part)


def source_tokens(row: Any, side: str) -> list[Token]:
    """Return a source as a passage, with its token marked."""
    before, label, after = (getattr(row, f"{side}_{name}") for name in ("before", "label", "after"))
    return [Token(before), Token(label or "∅", is_centre=True), Token(after)]


def atom_links(shown: pages.CompareState, a: Any, b: Any) -> list[tuple[str, str, str]]:
    """Return links to the pages of an atom of A and one of B, where they exist."""
    return [
        (f"{side.upper()} {int(atom)}", urls.atom_address(dictionary, int(atom)), side)
        for side, dictionary, atom in (("a", shown.a, a), ("b", shown.b, b))
        if not pd.isna(atom)
    ]


def match_address(shown: pages.CompareState, a: Any, b: Any) -> str:
    """Return the URL of an atom of A and one of B side by side.

    If one of them is missing, the page adds the best match of the other.
    """
    a, b = (None if pd.isna(atom) else int(atom) for atom in (a, b))
    return urls.address(replace(shown, atom_a=a, atom_b=b))


def twin_row(shown: pages.CompareState, row: Any, part: str, key: str) -> Row:
    """Return two atoms with one source as a row.

    Where sources are matched by character, the passages of the two sides differ, so both are shown.
    """
    is_same = key == "token"
    return Row(
        source_tokens(row, "a"),
        [share(row.a_density), share(row.b_density), number(row.a_strongest), number(row.b_strongest)],
        href=match_address(shown, row.a, row.b),
        below=() if is_same else source_tokens(row, "b"),
        sides="" if is_same else "ab",
        links=atom_links(shown, row.a, row.b),
    )


def lone_row(shown: pages.CompareState, row: Any, part: str, key: str) -> Row:
    """Return an atom without a twin as a row.

    Its further link is its best match, where one is known.
    """
    statistics = [share(getattr(row, f"{part}_density"))]
    statistics += [number(getattr(row, f"{part}_{name}")) for name in ("strongest", "admission_error")]
    other = getattr(row, f"{part}_other")
    a, b = (row.a, other) if part == "a" else (other, row.b)
    return Row(
        source_tokens(row, part),
        [*statistics, number(getattr(row, f"{part}_correlation"), 2)],
        href=match_address(shown, row.a, row.b),
        links=atom_links(shown, a, b),
    )


def matched_row(shown: pages.CompareState, row: Any) -> Row:
    """Return an atom of A over an atom of B that fires like it, as a row."""
    return Row(
        source_tokens(row, "a"),
        [number(row.correlation, 2), count(row.together)],
        href=match_address(shown, row.a, row.b),
        below=source_tokens(row, "b"),
        sides="ab",
        links=atom_links(shown, row.a, row.b),
    )
