"""Filters and sort orders of lists of atoms, as SQL."""

from dataclasses import dataclass, field
from typing import Any

from itda_core.common.errors import UserError
from itda_core.common.text import has_half_characters
from itda_core.index.schema import MAY_MISS

SORTS = {
    "admission": "atom",
    "count": "count",
    "density": "density",
    "strongest": "strongest",
    "maximum": "maximum",
    "minimum": "minimum",
    "error": "admission_error",
}
"""What atoms can be sorted by → its column."""
SCOPES = ("source", "token", "context")
"""Where a search looks: the passage an atom came from, its own token, or the passages it fires in most."""
MEASURED = MAY_MISS["atoms"]
LISTED = (
    "atom, label, before, after, document, position, count, density, mean, maximum, minimum, strongest, admission_error"
)


@dataclass(frozen=True)
class AtomFilter:
    """Which atoms are listed. Every condition that is given must hold."""

    text: str = ""
    """Text to find, whatever its case."""
    scope: str = "source"
    """Where to find it: one of SCOPES."""
    density: tuple[float, float] | None = None
    """Lowest and highest share of tokens that the atom fires on."""
    strongest: tuple[float, float] | None = None
    """Lowest and highest of the largest absolute coefficient."""
    error: tuple[float, float] | None = None
    """Lowest and highest error at admission; atoms that no error admitted are then left out."""
    atoms: tuple[int, ...] | None = field(default=None)
    """Only these atoms, such as those selected on the map."""
    first: int | None = None
    """Only the atoms that were admitted among the first so many, as cropping the dictionary to them leaves it."""

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise UserError(f"no search in {self.scope!r}: choose one of {', '.join(SCOPES)}")
        if has_half_characters(self.text):
            raise UserError("the search text holds half a character: type it again")


def sort_column_of(sort: str) -> str:
    """SQL of a sort order. Raises UserError for an unknown one."""
    if sort not in SORTS:
        raise UserError(f"no sort by {sort!r}: choose one of {', '.join(SORTS)}")
    return SORTS[sort]


def prefixed(alias: str) -> str:
    """Listed columns with a table's alias before each."""
    return ", ".join(f"{alias}.{column}" for column in LISTED.split(", "))


def condition_of(where: AtomFilter) -> tuple[str, list[Any]]:
    """SQL condition on the table `atoms a`, and its values."""
    conditions, values = ["true"], []
    if where.text:
        searched = {
            "source": "contains(lower(before || label || after), lower(?))",
            "token": "contains(lower(label), lower(?))",
            "context": "a.atom IN (SELECT atom FROM examples WHERE contains(lower(context), lower(?)))",
        }
        conditions.append(searched[where.scope])
        values.append(where.text)
    for column, bounds in (
        ("density", where.density),
        ("strongest", where.strongest),
        ("admission_error", where.error),
    ):
        if bounds is not None:
            conditions.append(f"{column} BETWEEN ? AND ?")
            values += bounds
    if where.atoms is not None:
        conditions.append("a.atom IN (SELECT unnest(?::INTEGER[]))")
        values.append([atom for atom in where.atoms if 0 <= atom < 2**31])
    if where.first is not None:
        conditions.append("a.atom < ?")
        values.append(where.first)
    return " AND ".join(conditions), values
