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
"""Sort order of atoms → column."""
SCOPES = ("source", "token", "context")
"""Scopes of a search: the source passage of an atom, its source token, or the passages of its top examples."""
MEASURED = MAY_MISS["atoms"]
LISTED = (
    "atom, label, before, after, document, position, count, density, mean, maximum, minimum, strongest, admission_error"
)


@dataclass(frozen=True)
class AtomFilter:
    """Filter of listed atoms.

    Every condition that is given must hold.
    """

    text: str = ""
    """Text to search for, regardless of case."""
    scope: str = "source"
    """Scope of the search: one of SCOPES."""
    density: tuple[float, float] | None = None
    """Lowest and highest share of tokens on which the atom fires."""
    strongest: tuple[float, float] | None = None
    """Lowest and highest value of the largest absolute coefficient."""
    error: tuple[float, float] | None = None
    """Lowest and highest error at admission; if given, atoms without such an error are left out."""
    atoms: tuple[int, ...] | None = field(default=None)
    """Only these atoms, such as those selected on the map."""
    first: int | None = None
    """Only this number of atoms, in order of admission, as in a dictionary cropped to them."""

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise UserError(f"no search in {self.scope!r}: choose one of {', '.join(SCOPES)}")
        if has_half_characters(self.text):
            raise UserError("the search text holds half a character: type it again")


def sort_column_of(sort: str) -> str:
    """Return the SQL of a sort order.

    Raises UserError for an unknown one.
    """
    if sort not in SORTS:
        raise UserError(f"no sort by {sort!r}: choose one of {', '.join(SORTS)}")
    return SORTS[sort]


def prefixed(alias: str) -> str:
    """Return the columns LISTED, each with a table's alias as prefix."""
    return ", ".join(f"{alias}.{column}" for column in LISTED.split(", "))


def condition_of(where: AtomFilter) -> tuple[str, list[Any]]:
    """Return a filter's SQL condition on the table `atoms a`, and its values."""
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
