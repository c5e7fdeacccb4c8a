"""Codec of a page's state in its URL, which is untrusted when it is decoded."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar
from urllib.parse import quote_plus

from itda_core.common.errors import UserError

Range = tuple[float, float]
Polygon = tuple[tuple[float, float], ...]


class PageState(Protocol):
    """State of a page: a frozen dataclass whose fields know their URL parameters."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


State = TypeVar("State", bound=PageState)
MOST_CORNERS = 64
"""Corners that a selection on the map keeps: enough for any lasso, and few enough for a URL."""
MOST_IN_ADDRESS = 4000
"""Characters that a passage may take in a URL, percent-encoded: browsers and proxies accept that many."""
_LONGEST_TEXT = 200
_LONGEST_PATH = 1000
_LARGEST_NUMBER = 10**9


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser of one of several words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def whole_value(lowest: int) -> Callable[[str], int]:
    """Return a parser of an integer of `lowest` or more."""

    def parse(value: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", value) or not lowest <= int(value) <= _LARGEST_NUMBER:
            raise ValueError(f"must be a whole number, {lowest} or more")
        return int(value)

    return parse


def _at_most(length: int) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if len(value) > length:
            raise ValueError(f"must be at most {length} characters long")
        return value

    return parse


text_value, path_value, passage_value = _at_most(_LONGEST_TEXT), _at_most(_LONGEST_PATH), _at_most(MOST_IN_ADDRESS)


def fits_address(passage: str) -> bool:
    """Return whether a passage is short enough for a URL.

    Percent-encoding takes six or nine characters for a letter of most other scripts.
    """
    return len(passage) <= MOST_IN_ADDRESS and len(quote_plus(passage, errors="replace")) <= MOST_IN_ADDRESS


def flag_value(value: str) -> bool:
    """Parse 0 or 1."""
    if value not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return value == "1"


def number_value(value: str) -> float:
    """Parse a finite number."""
    is_number = len(value) <= 24 and re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?", value)
    number = float(value) if is_number else math.nan
    if not math.isfinite(number):
        raise ValueError("must be made of plain numbers")
    return number


def range_value(value: str) -> Range:
    """Parse `low~high`."""
    try:
        low, high = map(number_value, value.split("~"))
    except ValueError as error:
        raise ValueError("must be two numbers like 0.1~0.5") from error
    if low > high:
        raise ValueError("must begin with the smaller number")
    return low, high


def polygon_value(value: str) -> Polygon:
    """Parse a polygon's corners, `x,y~x,y~…`."""
    try:
        corners = tuple(
            (number_value(x), number_value(y)) for x, y in (corner.split(",") for corner in value.split("~"))
        )
    except ValueError as error:
        raise ValueError("must be corners like 0,0~1,0~1,1") from error
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise ValueError(f"must have 3 to {MOST_CORNERS} corners")
    return corners


def short(number: float) -> str:
    """Format a number with up to nine significant digits."""
    return f"{number:.9g}"


def show_range(value: Range) -> str:
    """Format a range as a URL parameter."""
    return "~".join(map(short, value))


def show_polygon(value: Polygon) -> str:
    """Format a polygon as a URL parameter."""
    return "~".join(f"{x:.3f},{y:.3f}" for x, y in value)


def show_flag(value: bool) -> str:
    """Format a boolean as a URL parameter."""
    return "1" if value else "0"


def param(
    name: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str, is_blank_kept: bool = False
) -> dict[str, Any]:
    """Return the metadata of a field: its URL parameter, its parser and its formatter.

    `is_blank_kept` is whether the parameter may be empty.
    """
    return {"param": name, "parse": parse, "show": show, "is_blank_kept": is_blank_kept}


def decode(kind: type[State], params: Mapping[str, str]) -> State:
    """Decode a page's state from the parameters of its URL.

    Parameters of other pages are ignored.

    Raises:
        UserError: a parameter is invalid; the message states the valid values.
    """
    found: dict[str, Any] = {}
    for each in fields(kind):
        value = params.get(name_of(each))
        if value is None or (value == "" and not each.metadata["is_blank_kept"]):
            continue
        try:
            found[each.name] = each.metadata["parse"](value)
        except ValueError as error:
            shown = value if len(value) <= 40 else value[:40] + "…"
            raise UserError(f"the address has {name_of(each)}={shown!r}: {name_of(each)} {error}") from error
    return kind(**found)


def encode(state: PageState) -> dict[str, str]:
    """Encode a state as URL parameters; default values are left out."""
    return {
        name_of(each): each.metadata["show"](value)
        for each in fields(state)
        if (value := getattr(state, each.name)) != each.default
    }


def name_of(each: Field) -> str:
    """Return the name of a field's parameter in the URL."""
    return each.metadata["param"]
