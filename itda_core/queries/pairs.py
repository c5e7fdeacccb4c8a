"""Read-only queries over two dictionaries' indexes."""

from typing import NamedTuple

import pandas as pd

from itda_core.queries.pair_filters import (
    LISTED,
    MATCH_COLUMNS,
    PARTITION,
    PairFilter,
    columns_of,
    condition_of,
    sides_of,
    sort_column_of,
)
from itda_core.queries.pair_tokens import PairTokens


class PartCounts(NamedTuple):
    """Number of atoms, or of pairs of twins, in each part."""

    both: int
    """Number of pairs with the same source."""
    a: int
    """Number of atoms that only A has."""
    b: int
    """Number of atoms that only B has."""

    @property
    def jaccard(self) -> float:
        """Number of shared sources over that of sources of either; 0 if there are none."""
        return self.both / max(1, self.both + self.a + self.b)


class WeightShares(NamedTuple):
    """Weight shares of the atoms without a twin.

    Their share of the sum of all absolute coefficients of their side.
    """

    a: float
    """Share of the atoms that only A has, in A's sum."""
    b: float
    """Share of the atoms that only B has, in B's sum."""


class Pair(PairTokens):
    """Queries over two dictionaries' indexes.

    They list the atoms that one or both have, and return the data that jobs need of both.
    """

    def counts(self, text: str = "") -> PartCounts:
        """Count the atoms of each part whose source passage contains a text."""
        condition, values = condition_of(PairFilter(text=text))
        found = self._frame(f"SELECT part, count(*) AS n FROM {LISTED} WHERE {condition} GROUP BY part", values)
        by_part = dict(zip(found["part"], found["n"], strict=True))
        return PartCounts(*(int(by_part.get(part, 0)) for part in PARTITION))

    def page(
        self, where: PairFilter, sort: str = "admission", descending: bool = False, offset: int = 0, limit: int = 50
    ) -> pd.DataFrame:
        """Return one page of a part's pairs.

        Columns: a, b (the atoms; one is missing except for twins), and for each side, with the prefix `a_` or `b_`:
        label, before, after, count, density, strongest, admission_error, weight, other, correlation, together.
        """
        condition, values = condition_of(where)
        return self._frame(
            f"""
            SELECT p.a, p.b, {columns_of("a")}, {columns_of("b")} FROM {LISTED} WHERE p.part = ? AND {condition}
            ORDER BY {sort_column_of(sort)} {"DESC" if descending else "ASC"} NULLS LAST, p.a, p.b LIMIT ? OFFSET ?
            """,
            [where.part, *values, limit, offset],
        )

    def twin(self, atom: int, side: str = "a") -> int | None:
        """Return the twin of an atom of one side, or None if it has none.

        The twin is the atom of the other side with the same source.
        """
        side, other = sides_of(side)
        found = self._frame(f"SELECT {other} AS twin FROM pairs WHERE part = 'both' AND {side} = ?", [atom])
        return None if found.empty else int(found["twin"].tolist()[0])

    def twins(self) -> dict[int, int]:
        """Return the twin in B of every atom of A that has one."""
        found = self._arrays("SELECT a, b FROM pairs WHERE part = 'both'")
        return dict(zip(found["a"].tolist(), found["b"].tolist(), strict=True))

    def measured(self, atom: int, side: str = "a") -> pd.DataFrame:
        """Return the job's measures of an atom.

        One row with the columns MATCH_COLUMNS; no row before the job.
        """
        side, _ = sides_of(side)
        return self._frame(f"SELECT {', '.join(MATCH_COLUMNS)} FROM {side}.measures WHERE atom = ?", [atom])

    def carried(self) -> WeightShares:
        """Return the weight shares of the atoms without a twin; 0 before the job."""
        row = self._frame(
            """
            SELECT coalesce(sum(m.weight) FILTER (part = 'a'), 0) AS a,
                coalesce(sum(o.weight) FILTER (part = 'b'), 0) AS b
            FROM pairs p LEFT JOIN a.measures m ON m.atom = p.a LEFT JOIN b.measures o ON o.atom = p.b
            """
        ).iloc[0]
        return WeightShares(float(row["a"]), float(row["b"]))

    def kinds(self, examples: int = 3) -> pd.DataFrame:
        """Return the kinds of source tokens of either side, those with the most weight gained in B first.

        A kind is a token's text without the spaces around it. Columns: label, a_atoms, b_atoms (numbers of atoms),
        a_weight, b_weight (their weight shares), change (weight in B minus weight in A), a_examples, b_examples (of
        each side, the heaviest atoms, those without a twin first). Weights are 0 before the job.
        """
        sides = " UNION ALL ".join(
            f"""
            SELECT '{side}' AS side, {side} AS atom, part, trim(label) AS label, coalesce(weight, 0) AS weight
            FROM pairs p JOIN {side}.atoms x ON x.atom = {side} LEFT JOIN {side}.measures m ON m.atom = {side}
            """
            for side in ("a", "b")
        )
        columns = ", ".join(
            f"""
            count(*) FILTER (side = '{side}') AS {side}_atoms,
            coalesce(sum(weight) FILTER (side = '{side}'), 0) AS {side}_weight,
            coalesce(list(atom ORDER BY part = 'both', weight DESC, atom) FILTER (side = '{side}'), [])
                [:{int(examples)}] AS {side}_examples
            """
            for side in ("a", "b")
        )
        return self._frame(
            f"""
            SELECT label, {columns}, b_weight - a_weight AS change FROM ({sides})
            GROUP BY label ORDER BY change DESC, label
            """
        )

    def matches(self, limit: int = 50) -> pd.DataFrame:
        """Return the best matches of the atoms without a twin, of either side.

        The best is first; two atoms that are each other's best match are listed once. Columns: a, b, correlation,
        together, and the source passages with the prefix `a_` or `b_`: label, before, after.
        """
        return self._frame(
            """
            WITH found AS (
                SELECT p.a, m.other AS b, correlation, together FROM pairs p JOIN a.measures m ON m.atom = p.a
                WHERE part = 'a' AND other IS NOT NULL
                UNION
                SELECT o.other, p.b, correlation, together FROM pairs p JOIN b.measures o ON o.atom = p.b
                WHERE part = 'b' AND other IS NOT NULL
            )
            SELECT a, b, correlation, together, x.label AS a_label, x.before AS a_before, x.after AS a_after,
                y.label AS b_label, y.before AS b_before, y.after AS b_after
            FROM found JOIN a.atoms x ON x.atom = a JOIN b.atoms y ON y.atom = b
            ORDER BY correlation DESC, a, b LIMIT ?
            """,
            [limit],
        )
