"""Read-only queries on one dictionary's index."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from itda_core.common.errors import UserError
from itda_core.index.checks import check_index
from itda_core.queries.examples import ActivationQueries
from itda_core.queries.filters import LISTED, MEASURED, AtomFilter, condition_of, prefixed, sort_column_of
from itda_core.queries.passages import PassageQueries
from itda_core.queries.single import plain_value


@dataclass(frozen=True)
class Atom:
    """One atom with its statistics over the captured tokens."""

    atom: int
    """0-based, in order of admission."""
    label: str
    """Text of the source token; UNKNOWN_SOURCE where that is not known."""
    before: str
    """Text of up to 16 tokens before it."""
    after: str
    """Text of up to 16 tokens after it."""
    document: int
    """Ordinal of the source document; −1 where it is not known."""
    document_name: str
    """Its name; empty where it is not known."""
    position: int
    """Position of the source token; −1 where it is not known."""
    token: int
    """Ordinal of the source token in the index; −1 where it is not known."""
    count: int
    """Tokens it fires on."""
    density: float
    """Share of the captured tokens that it fires on."""
    mean: float | None
    """Mean coefficient where it fires; None when it never does."""
    maximum: float | None
    """Largest coefficient."""
    minimum: float | None
    """Smallest coefficient."""
    strongest: float | None
    """Largest absolute coefficient."""
    admission_error: float | None
    """The error that admitted it; None when the frequent start took it."""

    @property
    def has_source(self) -> bool:
        """Whether it is known where it came from."""
        return self.token >= 0


class Index(ActivationQueries, PassageQueries):
    """A dictionary's index: its atoms, where they fire, and the texts around."""

    def count(self, where: AtomFilter) -> int:
        """How many atoms pass a filter."""
        condition, values = condition_of(where)
        return int(self._value(f"SELECT count(*) FROM atoms a WHERE {condition}", values))

    def page(
        self, where: AtomFilter, sort: str = "admission", descending: bool = False, offset: int = 0, limit: int = 50
    ) -> pd.DataFrame:
        """One page of the atoms that pass a filter: the columns of `Atom` but token and document_name."""
        condition, values = condition_of(where)
        direction = "DESC" if descending else "ASC"
        return self._frame(
            f"""
            SELECT {LISTED} FROM atoms a WHERE {condition}
            ORDER BY {sort_column_of(sort)} {direction} NULLS LAST, atom LIMIT ? OFFSET ?
            """,
            [*values, limit, offset],
            MEASURED,
        )

    def matching(self, where: AtomFilter) -> pd.DataFrame:
        """All atoms that pass a filter, with what a map colours by: atom, density, strongest, admission_error."""
        condition, values = condition_of(where)
        return self._frame(
            f"SELECT atom, density, strongest, admission_error FROM atoms a WHERE {condition} ORDER BY atom",
            values,
            MEASURED,
        )

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of density, strongest and error over all atoms; (0, 0) where no atom has one."""
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
        """One atom. Raises UserError for a number that no atom has."""
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
        """The atom whose source is this token, or None; a place below 0 is that of no token."""
        if document < 0 or position < 0:
            return None
        rows = self._frame("SELECT atom FROM atoms WHERE document = ? AND position = ?", [document, position])
        return None if rows.empty else int(rows["atom"].tolist()[0])

    def sources(self, atoms: Sequence[int]) -> pd.DataFrame:
        """Where some atoms came from, in their order: atom, document, position, stop, label, before, after.

        `stop` is the character of the document at which the source token ends, missing where that is not known.
        """
        asked = [int(atom) for atom in atoms]
        found = self._frame(
            """
            SELECT atom, a.document, a.position, stop, label, before, after
            FROM atoms a LEFT JOIN tokens USING (token)
            WHERE atom IN (SELECT unnest($1::INTEGER[])) ORDER BY list_position($1::INTEGER[], atom)
            """,
            [asked],
            ("stop",),
        )
        if len(set(found["atom"].tolist())) < len(set(asked)):
            raise self._spoilt(f"{self.n_atoms} atoms where the dictionary has more")
        return found

    def neighbours(self, atom: int) -> pd.DataFrame:
        """Atoms most alike by cosine: rank, cosine, and the columns of `page`."""
        return self._frame(
            f"""
            SELECT rank, cosine, {prefixed("b")}
            FROM neighbours n JOIN atoms b ON b.atom = n.other WHERE n.atom = ? ORDER BY rank
            """,
            [atom],
            MEASURED,
        )

    def cofiring(self, atom: int) -> pd.DataFrame:
        """Atoms that fire on the same tokens: rank, together (tokens), jaccard, lift, and the columns of `page`.

        Jaccard is the tokens with both over the tokens with either; lift is how many times more often the two fire
        together than they would by chance.
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

    # For other tools

    def check(self) -> None:
        """Raises DamagedError where any row says what cannot be; takes seconds for a large index."""
        (path,) = self._files.values()
        self._ask(lambda cursor: check_index(cursor, path, "main"))

    def check_numbers(self) -> None:
        """Raises DamagedError unless atoms, tokens and documents are numbered from 0 on, each there once."""
        for name, table in (("atom", "atoms"), ("token", "tokens"), ("document", "documents")):
            sql = f"""
                SELECT count(*) = count(DISTINCT {name}) AND coalesce(min({name}), 0) = 0
                    AND coalesce(max({name}), -1) + 1 = count(*)
                FROM {table}
                """
            if not self._value(sql):
                raise self._spoilt(f"{table} that are not numbered")

    def origins(self) -> pd.DataFrame:
        """Where all atoms came from, in their order.

        Columns: atom, document, position (−1 where they are not known), document_name, start, stop (the characters of
        the document that the token is, missing where they are not known), before, label, after, admission_error.
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
        """The codes of tokens from `first` to and without `stop`: token, document, position, atom, coefficient.

        In order of tokens, and of each token the largest coefficient first, the sign left out.
        """
        return self._frame(
            """
            SELECT token, document, position, atom, coefficient FROM codes JOIN tokens USING (token)
            WHERE token >= ? AND token < ? ORDER BY token, abs(coefficient) DESC, atom
            """,
            [first, stop],
        )
