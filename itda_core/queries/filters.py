"""Filters and sort orders of lists of atoms, as SQL."""

from dataclasses import dataclass

from itda_core.common.errors import UserError
from itda_core.common.text import has_half_characters
from itda_core.index.schema import MAY_MISS
from itda_core.queries.search import found_by, words_of
from itda_core.queries.statement import Values

SORTS = {
    "admission": "atom",
    "count": "count",
    "density": "density",
    "strongest": "strongest",
    "maximum": "maximum",
    "minimum": "minimum",
    "error": "admission_error",
    "best": "score",
    "varied": "variety",
}
"""Sort order of atoms → column.

`best` is by how well an atom matches the text that is searched for; without one, it leaves them as admitted.

`varied` begins with atoms that a newcomer can make sense of, from all over the text: the absolute coefficient of the
tenth strongest example times the logarithm of one over the density, divided by the atom's turn. The coefficient of the
tenth example is large for atoms that respond to the same thing again and again; the largest one is so too for an atom
that fires on its own source alone. The logarithm, as the idf of a search engine, prefers those that fire on few tokens
to those of commas and line breaks. The turn is the atom's place among those of its document, or of its source token,
whichever is later, so that a second atom of the same one counts half: without it, the first page has whole sentences
of one document. Atoms that fire on fewer than ten tokens come last.
"""
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
    """Words to search for, which must all occur in one passage, regardless of case; a phrase is in double quotes."""
    scope: str = "source"
    """Scope of the search: one of SCOPES."""
    density: tuple[float, float] | None = None
    """Lowest and highest share of tokens on which the atom fires."""
    strongest: tuple[float, float] | None = None
    """Lowest and highest value of the largest absolute coefficient."""
    error: tuple[float, float] | None = None
    """Lowest and highest error at admission; if given, atoms without such an error are left out."""
    atoms: tuple[int, ...] | None = None
    """Only these atoms, such as those selected on the map."""
    first: int | None = None
    """Only this number of atoms, in order of admission, as in a dictionary cropped to them."""

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise UserError(f"no search in {self.scope!r}: choose one of {', '.join(SCOPES)}")
        if has_half_characters(self.text):
            raise UserError("the search text holds half a character: type it again")


def prefixed(alias: str) -> str:
    """Return the columns LISTED, each with a table's alias as prefix."""
    return ", ".join(f"{alias}.{column}" for column in LISTED.split(", "))


@dataclass(frozen=True)
class Listing:
    """List of atoms as parts of an SQL statement."""

    atoms: str
    """FROM and WHERE, with `atoms a` and, if a text is searched for, `found`."""
    order: str
    """ORDER BY."""
    example: str
    """Column of the token of the example that matches best; −1 if no contexts are searched."""
    values: Values
    """Values of these parts, to which the statement may add its own."""


def listing_of(where: AtomFilter, sort: str = "admission", descending: bool = False) -> Listing:
    """Return the list of the atoms that pass a filter.

    Raises UserError for an unknown sort order.
    """
    if sort not in SORTS:
        raise UserError(f"no sort by {sort!r}: choose one of {', '.join(SORTS)}")
    values, words = Values(), words_of(where.text)
    tables, conditions = ["atoms a"], ["true"]
    if words:
        tables.append(f"JOIN ({found_by(words, where.scope, values)}) found USING (atom)")
    if sort == "varied":
        tables.append(f"LEFT JOIN ({_VARIETY}) varied USING (atom)")
    for column, bounds in (
        ("density", where.density),
        ("strongest", where.strongest),
        ("admission_error", where.error),
    ):
        if bounds is not None:
            low, high = map(values.put, bounds)
            conditions.append(f"{column} BETWEEN {low} AND {high}")
    if where.atoms is not None:
        wanted = values.put([atom for atom in where.atoms if 0 <= atom < 2**31])
        conditions.append(f"atom IN (SELECT unnest({wanted}::INTEGER[]))")
    if where.first is not None:
        conditions.append(f"atom < {values.put(where.first)}")
    by = f"{SORTS[sort]} {'DESC' if descending else 'ASC'} NULLS LAST, " if words or sort != "best" else ""
    return Listing(
        f"FROM {' '.join(tables)} WHERE {' AND '.join(conditions)}",
        f"ORDER BY {by}atom",
        "example" if words else "-1",
        values,
    )


_VARIETY = """
    SELECT atom, clarity / greatest(
        row_number() OVER (PARTITION BY document ORDER BY clarity DESC, atom),
        row_number() OVER (PARTITION BY lower(trim(label)) ORDER BY clarity DESC, atom)
    ) AS variety
    FROM (
        SELECT atom, document, label, -abs(coefficient) * ln(density) AS clarity
        FROM atoms JOIN examples USING (atom) WHERE rank = 10 AND density > 0
    )
    """
