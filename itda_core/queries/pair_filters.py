"""Filters and sort orders of lists of atom pairs, as SQL."""

from dataclasses import dataclass
from typing import Any

from itda_core.common.errors import UserError
from itda_core.common.text import has_half_characters

PARTITION = ("both", "a", "b")
"""Parts of the atoms of two dictionaries: those with a twin, and those that only A, or only B, has."""
PAIR_SORTS = ("admission", "strongest", "density", "error", "weight", "match", "change")
"""Sort orders of pairs. For twins the larger value counts, and A's order of admission; `weight` (the share of all
absolute coefficients), `match` (the correlation of the best match) and `change` (weight in B minus weight in A) require
the job's measures, and are missing before the job."""
MATCH_COLUMNS = ("atom", "other", "correlation", "together", "weight")
"""Columns of a side's measures, one row per atom: the atom, its best match on the other side, the correlation of the
two, the number of tokens on which both fire, and the atom's weight. `other` to `together` are missing if no atom
matches."""
LEAST_TOGETHER = 5
"""Minimum number of tokens on which two atoms must both fire to match: among thousands of atoms, one that fires
together with a rare atom on fewer tokens is easily found by chance."""
_STATISTICS = ("label", "before", "after", "count", "density", "strongest", "admission_error")


@dataclass(frozen=True)
class PairFilter:
    """Filter of listed pairs."""

    part: str = "both"
    """One of PARTITION."""
    text: str = ""
    """Text to search for in the source passage of either side, regardless of case."""

    def __post_init__(self) -> None:
        if self.part not in PARTITION:
            raise UserError(f"no part {self.part!r}: choose one of {', '.join(PARTITION)}")
        if has_half_characters(self.text):
            raise UserError("the search text holds half a character: type it again")


LISTED = """
    pairs p LEFT JOIN a.atoms x ON x.atom = p.a LEFT JOIN b.atoms y ON y.atom = p.b
    LEFT JOIN a.measures m ON m.atom = p.a LEFT JOIN b.measures o ON o.atom = p.b
"""
_SORT_COLUMNS = {
    "admission": "coalesce(p.a, p.b)",
    "strongest": "greatest(x.strongest, y.strongest)",
    "density": "greatest(x.density, y.density)",
    "error": "greatest(x.admission_error, y.admission_error)",
    "weight": "greatest(m.weight, o.weight)",
    "match": "greatest(m.correlation, o.correlation)",
    "change": "coalesce(o.weight, 0) - coalesce(m.weight, 0)",
}


def columns_of(side: str) -> str:
    """Return the SQL of one side's columns."""
    atom, measured = {"a": ("x", "m"), "b": ("y", "o")}[side]
    columns = [f'{atom}."{name}" AS {side}_{name}' for name in _STATISTICS]
    columns += [f"{measured}.{name} AS {side}_{name}" for name in ("weight", "other", "correlation", "together")]
    return ", ".join(columns)


def sides_of(side: str) -> tuple[str, str]:
    """Return a side and the other one.

    Raises ValueError for an unknown side.
    """
    if side not in ("a", "b"):
        raise ValueError(f"no side {side!r}: a or b")
    return side, "b" if side == "a" else "a"


def sort_column_of(sort: str) -> str:
    """Return the SQL of a sort order.

    Raises UserError for an unknown one.
    """
    if sort not in PAIR_SORTS:
        raise UserError(f"no order by {sort!r}: choose one of {', '.join(PAIR_SORTS)}")
    return _SORT_COLUMNS[sort]


def condition_of(where: PairFilter) -> tuple[str, list[Any]]:
    """Return a filter's SQL condition on LISTED, without the part, and its values."""
    if not where.text:
        return "true", []
    sides = [f"contains(lower({side}.before || {side}.label || {side}.after), lower(?))" for side in ("x", "y")]
    return "(" + " OR ".join(f"coalesce({each}, false)" for each in sides) + ")", [where.text, where.text]
