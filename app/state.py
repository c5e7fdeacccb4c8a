"""What a page shows, as a typed value, to and from the address. The address is the only place where it is kept.

Widgets are set from it before they are drawn and write to it when they change, so that Back, reload and a link that
was sent to someone else all show the same page. What an address says is not trusted.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from itda_core.queries import SCOPES, AtomFilter
from itda_core.types import HOOKS, UserError

Range = tuple[float, float]
Polygon = tuple[tuple[float, float], ...]
State = TypeVar("State", "LibraryState", "AtomsState", "AtomState")

MEASURES = ("error", "atoms", "density", "tokens")
"""What the library's grid can be coloured by."""
COLOURS = ("density", "strongest", "error", "admission")
"""What the map of atoms can be coloured by."""
POINTERS = ("pick", "circle")
"""What the pointer does on the map."""
SORTS: dict[str, tuple[str, bool]] = {
    "admission": ("admission", False),
    "densest": ("density", True),
    "rarest": ("density", False),
    "strongest": ("strongest", True),
    "weakest": ("strongest", False),
    "negative": ("minimum", False),
    "surprising": ("error", True),
    "expected": ("error", False),
}
"""Orders of the list of atoms → the query's sort, and whether it descends."""
MOST_CORNERS = 64
"""Corners that a selection on the map keeps: enough for any lasso, and short enough for an address."""

_LONGEST_TEXT = 200
_LARGEST_NUMBER = 10**9


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def _whole(lowest: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", value) or not lowest <= int(value) <= _LARGEST_NUMBER:
            raise ValueError(f"must be a whole number, {lowest} or more")
        return int(value)

    return parse


def _text(value: str) -> str:
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"must be at most {_LONGEST_TEXT} characters long")
    return value


def _number(value: str) -> float:
    number = float(value) if re.fullmatch(r"[-+0-9.eE]{1,24}", value) else math.nan
    if not math.isfinite(number):
        raise ValueError("must be made of plain numbers")
    return number


def _range(value: str) -> Range:
    try:
        low, high = map(_number, value.split("~"))
    except ValueError as error:
        raise ValueError("must be two numbers like 0.1~0.5") from error
    if low > high:
        raise ValueError("must begin with the smaller number")
    return low, high


def _polygon(value: str) -> Polygon:
    try:
        corners = tuple((_number(x), _number(y)) for x, y in (corner.split(",") for corner in value.split("~")))
    except ValueError as error:
        raise ValueError("must be corners like 0,0~1,0~1,1") from error
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise ValueError(f"must have 3 to {MOST_CORNERS} corners")
    return corners


def _short(number: float) -> str:
    return f"{number:.9g}"


def _show_range(value: Range) -> str:
    return "~".join(map(_short, value))


def _show_polygon(value: Polygon) -> str:
    return "~".join(f"{x:.3f},{y:.3f}" for x, y in value)


def _param(name: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str) -> dict[str, Any]:
    """How a field stands in the address: its parameter, and how to read and write it."""
    return {"param": name, "parse": parse, "show": show}


@dataclass(frozen=True)
class LibraryState:
    """The library page, `/`."""

    hook: str | None = field(default=None, metadata=_param("hook", _one_of(HOOKS)))
    """Which place in the blocks the grid shows; None takes the first that there is."""
    measure: str = field(default="error", metadata=_param("measure", _one_of(MEASURES)))
    """What the grid is coloured by."""


@dataclass(frozen=True)
class AtomsState:
    """The list and the map of a dictionary's atoms, `/atoms`."""

    dictionary: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary; empty when none is chosen."""
    text: str = field(default="", metadata=_param("text", _text))
    """Text to find."""
    scope: str = field(default="source", metadata=_param("scope", _one_of(SCOPES)))
    """Where to find it."""
    sort: str = field(default="admission", metadata=_param("sort", _one_of(tuple(SORTS))))
    """Order of the list."""
    page: int = field(default=1, metadata=_param("page", _whole(1)))
    """Page of the list, from 1."""
    density: Range | None = field(default=None, metadata=_param("density", _range, _show_range))
    """Share of tokens that an atom fires on."""
    strongest: Range | None = field(default=None, metadata=_param("strongest", _range, _show_range))
    """Largest absolute coefficient."""
    error: Range | None = field(default=None, metadata=_param("error", _range, _show_range))
    """Error at admission."""
    region: Polygon | None = field(default=None, metadata=_param("region", _polygon, _show_polygon))
    """What is selected on the map."""
    colour: str = field(default="density", metadata=_param("colour", _one_of(COLOURS)))
    """What the map is coloured by."""
    pointer: str = field(default="pick", metadata=_param("pointer", _one_of(POINTERS)))
    """What the pointer does on the map: click atoms, or circle them."""
    picked: int | None = field(default=None, metadata=_param("picked", _whole(0)))
    """The atom whose source is shown under the map."""

    def where(self, selected: tuple[int, ...] | None) -> AtomFilter:
        """The filter as queries take it; `selected` are the atoms inside the region, None without one."""
        return AtomFilter(self.text, self.scope, self.density, self.strongest, self.error, selected)


@dataclass(frozen=True)
class AtomState:
    """One atom, `/atom`."""

    dictionary: str = field(default="", metadata=_param("d", _text))
    """Id of the dictionary; empty when none is chosen."""
    atom: int | None = field(default=None, metadata=_param("a", _whole(0)))
    """Number of the atom; None when none is chosen."""


def decode(kind: type[State], params: Mapping[str, str]) -> State:
    """What an address says. Parameters of other pages are passed over.

    Raises:
        UserError: a parameter that cannot be; the message says what it must be.
    """
    found: dict[str, Any] = {}
    for each in fields(kind):
        value = params.get(_name(each))
        if value is None or value == "":
            continue
        try:
            found[each.name] = each.metadata["parse"](value)
        except ValueError as error:
            shown = value if len(value) <= 40 else value[:40] + "…"
            raise UserError(f"the address says {_name(each)}={shown!r}: {_name(each)} {error}") from error
    return kind(**found)


def encode(state: LibraryState | AtomsState | AtomState) -> dict[str, str]:
    """The parameters of a state; what is as usual is left out."""
    return {
        _name(each): each.metadata["show"](value)
        for each in fields(state)
        if (value := getattr(state, each.name)) != each.default
    }


def _name(each: Field) -> str:
    return each.metadata["param"]
