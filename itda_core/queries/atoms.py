"""Read-only queries on one dictionary's index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from itda_core.common.errors import UserError
from itda_core.index.checks import check_index
from itda_core.queries.examples import ActivationQueries
from itda_core.queries.filters import LISTED, MEASURED, AtomFilter, listing_of, prefixed
from itda_core.queries.passages import PassageQueries
from itda_core.queries.single import plain_value


@dataclass(frozen=True)
class Atom:
    """Atom with its statistics over the captured tokens."""

    atom: int
    """Number of the atom from 0, in order of admission."""
    label: str
    """Text of the source token; UNKNOWN_SOURCE if it is unknown."""
    before: str
    """Text of up to 16 tokens before the source token."""
    after: str
    """Text of up to 16 tokens after the source token."""
    document: int
    """Ordinal of the source document; −1 if it is unknown."""
    document_name: str
    """Name of the source document; empty if it is unknown."""
    position: int
    """Position of the source token; −1 if it is unknown."""
    token: int
    """Ordinal of the source token in the index; −1 if it is unknown."""
    count: int
    """Number of tokens on which it fires."""
    density: float
    """Share of the captured tokens on which it fires."""
    mean: float | None
    """Mean coefficient over the tokens on which it fires; None if it never fires."""
    maximum: float | None
    """Largest coefficient."""
    minimum: float | None
    """Smallest coefficient."""
    strongest: float | None
    """Largest absolute coefficient."""
    admission_error: float | None
    """Reconstruction error that led to its admission; None if it was admitted as a frequent token at the start."""

    @property
    def has_source(self) -> bool:
        """True if its source is known."""
        return self.token >= 0


class Place(NamedTuple):
    """Place of an atom in a list."""

    place: int
    """Place from 1."""
    total: int
    """Number of atoms in the list."""
    previous: int | None
    """The atom before it; None for the first one."""
    next: int | None
    """The atom after it; None for the last one."""


class Index(ActivationQueries, PassageQueries):
    """Index of a dictionary: atoms, their activations, and the surrounding texts."""

    def count(self, where: AtomFilter) -> int:
        """Count the atoms that pass a filter."""
        listing = listing_of(where)
        return int(self._value(f"SELECT count(*) {listing.atoms}", listing.values))

    def page(
        self, where: AtomFilter, sort: str = "admission", descending: bool = False, offset: int = 0, limit: int = 50
    ) -> pd.DataFrame:
        """Return one page of the atoms that pass a filter.

        The columns are the fields of `Atom` except token and document_name.
        """
        listing = listing_of(where, sort, descending)
        limit_, offset_ = listing.values.put(limit), listing.values.put(offset)
        return self._frame(
            f"SELECT {LISTED} {listing.atoms} {listing.order} LIMIT {limit_} OFFSET {offset_}", listing.values, MEASURED
        )

    def matching(self, where: AtomFilter, sort: str = "admission", descending: bool = False) -> pd.DataFrame:
        """Return all atoms that pass a filter, in order, with the values that colour a map.

        Columns: atom, density, strongest, admission_error, example (the token of the example that matches best; −1 if
        no contexts are searched).
        """
        listing = listing_of(where, sort, descending)
        return self._frame(
            f"SELECT atom, density, strongest, admission_error, {listing.example} AS example "
            f"{listing.atoms} {listing.order}",
            listing.values,
            MEASURED,
        )

    def place(self, where: AtomFilter, sort: str, descending: bool, atom: int) -> Place | None:
        """Return an atom's place in a list; None if the list does not contain it."""
        listing = listing_of(where, sort, descending)
        rows = self._frame(
            f"""
            SELECT place, total, previous, next FROM (
                SELECT atom, row_number() OVER list AS place, count(*) OVER () AS total,
                    lag(atom) OVER list AS previous, lead(atom) OVER list AS next
                {listing.atoms} WINDOW list AS ({listing.order})
            ) WHERE atom = {listing.values.put(atom)}
            """,
            listing.values,
            ("previous", "next"),
        )
        return None if rows.empty else Place(**{str(key): plain_value(value) for key, value in rows.iloc[0].items()})

    def rows(self, atoms: Sequence[int]) -> pd.DataFrame:
        """Return some atoms, in the order given; the columns are those of `page`."""
        return self._frame(
            f"""
            SELECT {LISTED}
            FROM atoms JOIN (SELECT unnest($1::INTEGER[]) AS atom, generate_subscripts($1::INTEGER[], 1) AS place)
                USING (atom)
            ORDER BY place
            """,
            [[int(atom) for atom in atoms]],
            MEASURED,
        )

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the ranges of density, strongest and error over all atoms.

        Each is (lowest, highest), or (0, 0) if no atom has a value.
        """
        row = self._frame(
            """
            SELECT coalesce(min(density), 0), coalesce(max(density), 0), coalesce(min(strongest), 0),
                coalesce(max(strongest), 0), coalesce(min(admission_error), 0), coalesce(max(admission_error), 0)
            FROM atoms
            """
        ).iloc[0]
        values = [float(value) for value in row]
        return dict(zip(("density", "strongest", "error"), zip(values[::2], values[1::2], strict=True), strict=True))

    def atom(self, atom: int) -> Atom:
        """Return one atom.

        Raises UserError for a number that no atom has.
        """
        if not 0 <= atom < self.n_atoms:
            raise UserError(f"there is no atom {atom}: this dictionary has atoms 0 to {self.n_atoms - 1}")
        rows = self._frame(
            f"""
            SELECT {LISTED}, token, coalesce(name, '') AS document_name
            FROM atoms LEFT JOIN documents USING (document) WHERE atom = ?
            """,
            [atom],
            MEASURED,
        )
        return Atom(**{str(key): plain_value(value) for key, value in rows.iloc[0].items()})

    def atom_from(self, document: int, position: int) -> int | None:
        """Return the atom whose source is a token, or None if there is none.

        No token has a document or position below 0.
        """
        if document < 0 or position < 0:
            return None
        rows = self._frame("SELECT atom FROM atoms WHERE document = ? AND position = ?", [document, position])
        return None if rows.empty else int(rows["atom"].tolist()[0])

    def sources(self, atoms: Sequence[int]) -> pd.DataFrame:
        """Return the sources of some atoms, in the order given.

        Columns: atom, document, position, stop, label, before, after. `stop` is the character of the document at which
        the source token ends, missing if it is unknown.
        """
        wanted = [int(atom) for atom in atoms]
        found = self._frame(
            """
            SELECT atom, a.document, a.position, stop, label, before, after
            FROM atoms a LEFT JOIN tokens USING (token)
            WHERE atom IN (SELECT unnest($1::INTEGER[])) ORDER BY list_position($1::INTEGER[], atom)
            """,
            [wanted],
            ("stop",),
        )
        if len(set(found["atom"].tolist())) < len(set(wanted)):
            raise self._spoilt(f"{self.n_atoms} atoms where the dictionary has more")
        return found

    def neighbours(self, atom: int) -> pd.DataFrame:
        """Return an atom's nearest atoms by cosine.

        Columns: rank, cosine, and those of `page`.
        """
        return self._frame(
            f"""
            SELECT rank, cosine, {prefixed("b")}
            FROM neighbours n JOIN atoms b ON b.atom = n.other WHERE n.atom = ? ORDER BY rank
            """,
            [atom],
            MEASURED,
        )

    def cofiring(self, atom: int) -> pd.DataFrame:
        """Return the atoms that fire on the same tokens.

        Columns: rank, together (number of tokens on which both fire), jaccard, lift, and those of `page`. Jaccard is
        the number of tokens with both over the number of tokens with either; lift is the number of tokens with both
        over the number expected by chance.
        """
        return self._frame(
            f"""
            SELECT rank, together, jaccard,
                together * (SELECT count(*) FROM tokens WHERE error IS NOT NULL) / (a.count * b.count) AS lift,
                {prefixed("b")}
            FROM cofiring c JOIN atoms a ON a.atom = c.atom JOIN atoms b ON b.atom = c.other
            WHERE c.atom = ? ORDER BY rank
            """,
            [atom],
            MEASURED,
        )

    # For other tools.

    def check(self) -> None:
        """Check every row of the index; takes seconds for a large one.

        Raises DamagedError if any row is invalid.
        """
        (path,) = self._files.values()
        self._ask(lambda cursor: check_index(cursor, path, "main"))

    def check_numbers(self) -> None:
        """Check that atoms, tokens and documents are numbered consecutively from 0.

        Raises DamagedError if a number is missing or occurs twice.
        """
        for name, table in (("atom", "atoms"), ("token", "tokens"), ("document", "documents")):
            sql = f"""
                SELECT count(*) = count(DISTINCT {name}) AND coalesce(min({name}), 0) = 0
                    AND coalesce(max({name}), -1) + 1 = count(*)
                FROM {table}
                """
            if not self._value(sql):
                raise self._spoilt(f"{table} that are not numbered")

    def origins(self) -> pd.DataFrame:
        """Return the sources of all atoms, in order of atoms.

        Columns: atom, document, position (−1 if unknown), document_name, start, stop (the range of characters of the
        source token in the document, missing if unknown), before, label, after, admission_error.
        """
        return self._frame(
            """
            SELECT atom, a.document, a.position, name AS document_name, start, stop, before, label, after,
                admission_error
            FROM atoms a LEFT JOIN tokens USING (token) LEFT JOIN documents d ON d.document = a.document ORDER BY atom
            """,
            (),
            ("document_name", "start", "stop", "admission_error"),
        )

    def codes(self, first: int, stop: int) -> pd.DataFrame:
        """Return the codes of the tokens from `first` (included) to `stop` (excluded).

        Columns: token, document, position, atom, coefficient. In order of tokens, and within a token of descending
        absolute coefficient.
        """
        return self._frame(
            """
            SELECT token, document, position, atom, coefficient FROM codes JOIN tokens USING (token)
            WHERE token >= ? AND token < ? ORDER BY token, abs(coefficient) DESC, atom
            """,
            [first, stop],
        )
