"""Read-only queries on one dictionary's index."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itda_core.common.errors import UserError
from itda_core.index.checks import check_index
from itda_core.index.connection import IndexReader
from itda_core.index.schema import CONTEXT_RADIUS, HISTOGRAM_BINS
from itda_core.queries.filters import LISTED, MEASURED, AtomFilter, condition_of, prefixed, sort_column_of

INTERVALS = 5
INTERVAL_EXAMPLES = 5
_CANDIDATES = 200  # activations looked at for examples that read differently


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


class Index(IndexReader):
    """A dictionary's index, open for reading; safe to share between threads, since every query has its own cursor."""

    def __init__(self, path: Path) -> None:
        """Open an index.

        Raises:
            DamagedError: the file is missing, or not an index, or says of an atom what cannot be.
            EngineError: DuckDB failed.
        """
        super().__init__({"main": path})
        self.n_atoms = int(self._value("SELECT count(*) FROM atoms"))
        self.n_tokens = int(self._value("SELECT count(*) FROM tokens WHERE error IS NOT NULL"))

    @property
    def n_read(self) -> int:
        """Tokens that were read, captured or not: the ordinal of each is below it."""
        return int(self._value("SELECT coalesce(max(token), -1) + 1 FROM tokens"))

    # Atoms

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
        return Atom(**{str(key): _plain(value) for key, value in rows.iloc[0].items()})

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

    # Where an atom fires

    def histogram(self, atom: int) -> pd.DataFrame:
        """The atom's coefficients in 50 bins: low, high, count; empty when it never fires."""
        bins = self._frame(
            f"""
            WITH
                a AS (
                    SELECT minimum, (maximum - minimum) / {HISTOGRAM_BINS} AS width
                    FROM atoms WHERE atom = $1 AND count > 0
                ),
                filled AS (SELECT bin, count FROM histograms WHERE atom = $1),
                bins AS (SELECT unnest(range({HISTOGRAM_BINS}))::INTEGER AS bin)
            SELECT minimum + bin * width AS low, minimum + (bin + 1) * width AS high, coalesce(count, 0) AS count
            FROM bins CROSS JOIN a LEFT JOIN filled USING (bin) ORDER BY bin
            """,
            [atom],
        )
        counts = bins["count"].to_numpy()
        if len(counts) and not (counts.min() >= 0 and counts.max() > 0):
            raise self._spoilt("a histogram with counts that cannot be")
        return bins

    def top_examples(self, atom: int, limit: int = 20, without: int | None = None) -> pd.DataFrame:
        """The tokens with the largest coefficients, strongest first; see `_examples` for the columns and `without`."""
        return self._examples(atom, "coefficient DESC", limit, without)

    def lowest_examples(self, atom: int, limit: int = 5) -> pd.DataFrame:
        """The tokens with the smallest coefficients, the most negative first."""
        return self._examples(atom, "coefficient ASC", limit)

    def interval_examples(self, atom: int) -> pd.DataFrame:
        """Examples from five equal intervals of the coefficient, the highest interval first.

        Columns: interval (0 is the highest), low, high, share (of the tokens that it fires on), token, coefficient;
        within an interval the examples are spread evenly over its ranks. An empty interval has no rows.
        """
        return self._frame(
            f"""
            WITH
                a AS (
                    SELECT count AS fired, maximum, (maximum - minimum) / {INTERVALS} AS width
                    FROM atoms WHERE atom = $1
                ),
                placed AS (
                    SELECT token, coefficient, fired, maximum, width,
                        CASE WHEN width > 0 THEN least({INTERVALS - 1}, floor((maximum - coefficient) / width))
                        ELSE 0 END::INTEGER AS interval
                    FROM activations CROSS JOIN a WHERE atom = $1
                ),
                ranked AS (
                    SELECT *, count(*) OVER (PARTITION BY interval) AS n,
                        row_number() OVER (PARTITION BY interval ORDER BY coefficient DESC, token) AS rank
                    FROM placed
                ),
                spread AS (SELECT *, floor((rank - 1) * {INTERVAL_EXAMPLES} / n) AS part FROM ranked)
            SELECT interval, maximum - (interval + 1) * width AS low, maximum - interval * width AS high,
                n / fired AS share, token, coefficient
            FROM spread
            QUALIFY row_number() OVER (PARTITION BY interval, part ORDER BY rank) = 1
            ORDER BY interval, rank
            """,
            [atom],
        )

    def strongest(self, atom: int, without: int) -> float | None:
        """Its largest absolute coefficient on tokens other than one, such as its source; None where it has none."""
        sql = "SELECT max(abs(coefficient)) AS strongest FROM activations WHERE atom = ? AND token <> ?"
        return _plain(self._frame(sql, [atom, without], ("strongest",)).iat[0, 0])

    def activations(self, atom: int, limit: int = 100_000, without: int | None = None) -> pd.DataFrame:
        """Where the atom fires, strongest first: document, name, position, text, coefficient. For downloads.

        `without` is a token to leave out, such as its source.
        """
        return self._frame(
            """
            SELECT document, name, position, t.text, coefficient
            FROM activations JOIN tokens t USING (token) JOIN documents USING (document)
            WHERE atom = ? AND token IS DISTINCT FROM ? ORDER BY coefficient DESC, token LIMIT ?
            """,
            [atom, without, limit],
        )

    def token_shares(self, atom: int, limit: int = 10) -> pd.DataFrame:
        """The tokens it fires on, those with the largest share first.

        Columns: text; count (tokens of this kind that it fires on); share (of all the tokens that it fires on);
        weight_share (the same, each token weighted by its absolute coefficient; the order); occurrences (captured
        tokens of this kind); fires_on (share of these on which it fires).
        """
        return self._frame(
            """
            WITH
                fired AS (
                    SELECT token_id, any_value(text) AS text, count(*) AS count, sum(abs(coefficient)) AS weight
                    FROM activations JOIN tokens USING (token) WHERE atom = $1 GROUP BY token_id
                ),
                kinds AS (
                    SELECT token_id, count(*) AS occurrences FROM tokens WHERE error IS NOT NULL GROUP BY token_id
                )
            SELECT text, count, count / (sum(count) OVER ()) AS share,
                weight / (sum(weight) OVER ()) AS weight_share, occurrences, count / occurrences AS fires_on
            FROM fired JOIN kinds USING (token_id) ORDER BY weight_share DESC, text LIMIT $2
            """,
            [atom, limit],
        )

    def label_prediction(self, atom: int) -> pd.DataFrame:
        """How well the source's own token, the token before it, and both, predict that the atom fires.

        One row each for `token`, `previous`, `both`, the source itself left out: tokens (captured tokens that match),
        fires (of those, how many it fires on), all_fires (how many it fires on at all), probability, chance, covered
        (share of its firing that falls on the matching ones), and the same for firing at half of its strongest or
        more: all_strong, strong, strong_chance, strong_covered. What would be a share of nothing is missing.
        """
        return self._frame(
            """
            WITH
                seen AS (
                    SELECT token, token_id, error,
                        lag(token_id) OVER (PARTITION BY document ORDER BY token) AS previous_id
                    FROM tokens
                ),
                source AS (
                    SELECT token, token_id, previous_id, strongest
                    FROM (SELECT token, strongest FROM atoms WHERE atom = $1) JOIN seen USING (token)
                ),
                fired AS (SELECT token, coefficient FROM activations WHERE atom = $1),
                judged AS (
                    SELECT t.token_id = s.token_id AS same,
                        coalesce(t.previous_id = s.previous_id, false) AS after_same,
                        f.coefficient IS NOT NULL AS fires,
                        coalesce(abs(f.coefficient) >= s.strongest / 2, false) AS strong
                    FROM seen t CROSS JOIN source s LEFT JOIN fired f ON f.token = t.token
                    WHERE t.error IS NOT NULL AND t.token <> s.token
                ),
                ruled AS (
                    SELECT 0 AS place, same AS matches, fires, strong FROM judged
                    UNION ALL SELECT 1, after_same, fires, strong FROM judged
                    UNION ALL SELECT 2, same AND after_same, fires, strong FROM judged
                ),
                counted AS (
                    -- each rule has its row, even where no token is judged
                    SELECT place, rule, count(fires) AS total, count(*) FILTER (matches) AS tokens,
                        count(*) FILTER (fires) AS all_fires, count(*) FILTER (matches AND fires) AS fires,
                        count(*) FILTER (strong) AS all_strong, count(*) FILTER (matches AND strong) AS both_strong
                    FROM (VALUES (0, 'token'), (1, 'previous'), (2, 'both')) AS rules(place, rule)
                        LEFT JOIN ruled USING (place)
                    GROUP BY place, rule
                )
            SELECT rule, tokens, fires, all_fires, all_strong,
                fires / nullif(tokens, 0) AS probability, all_fires / nullif(total, 0) AS chance,
                fires / nullif(all_fires, 0) AS covered,
                both_strong / nullif(tokens, 0) AS strong, all_strong / nullif(total, 0) AS strong_chance,
                both_strong / nullif(all_strong, 0) AS strong_covered
            FROM counted ORDER BY place
            """,
            [atom],
            ("probability", "chance", "covered", "strong", "strong_chance", "strong_covered"),
        )

    # Passages

    def contexts(self, tokens: Sequence[int], atom: int, radius: int = CONTEXT_RADIUS) -> pd.DataFrame:
        """The passages around some tokens, token by token, with the atom's coefficient on each.

        Columns: centre (the token asked for), token, text, coefficient (missing where the atom does not fire),
        is_centre, document, name, position. A token that the index does not hold has no rows.
        """
        return self._frame(
            """
            WITH
                -- the tokens that are wanted first: tokens, of which there are millions, is joined once
                wanted AS (
                    SELECT centre, (centre + step)::INTEGER AS token
                    FROM (SELECT DISTINCT unnest($1::INTEGER[]) AS centre)
                        CROSS JOIN range(-$3::INTEGER, $3::INTEGER + 1) AS near(step)
                ),
                found AS (
                    SELECT *, max(document) FILTER (token = centre) OVER (PARTITION BY centre) AS own
                    FROM wanted JOIN tokens USING (token)
                ),
                fired AS (SELECT token, coefficient FROM activations WHERE atom = $2)
            SELECT centre, token, f.text, coefficient, token = centre AS is_centre, document, name, position
            FROM found f JOIN documents USING (document) LEFT JOIN fired USING (token)
            WHERE document = own ORDER BY centre, token
            """,
            [list(tokens), atom, radius],
            ("coefficient",),
        )

    def passages(self, tokens: Sequence[int], atom: int, radius: int = CONTEXT_RADIUS) -> dict[int, pd.DataFrame]:
        """The `contexts` of tokens that the index itself names, by token. Raises DamagedError where one is missing."""
        found = {int(str(centre)): rows for centre, rows in self.contexts(tokens, atom, radius).groupby("centre")}
        if missing := set(tokens) - found.keys():
            raise self._spoilt(f"no token {min(missing)}, which it names")
        return found

    def document(self, document: int, atom: int) -> pd.DataFrame:
        """A whole document as read: the columns of `contexts` but centre and is_centre, and its unread rest.

        Text beyond the tokens that were read comes as one last row with no token. Raises UserError for a document that
        the index does not hold.
        """
        rows = self._frame("SELECT name, text FROM documents WHERE document = ?", [document])
        if rows.empty:
            raise UserError(f"there is no document {document} in this index")
        name, text = str(rows.at[0, "name"]), str(rows.at[0, "text"])
        tokens = self._frame(
            """
            WITH fired AS (SELECT token, coefficient FROM activations WHERE atom = $2)
            SELECT token, t.text, coefficient, position, stop
            FROM tokens t LEFT JOIN fired USING (token) WHERE document = $1 ORDER BY token
            """,
            [document, atom],
            ("coefficient",),
        )
        rest = text[max(tokens["stop"].tolist(), default=0) :]
        tokens = tokens.drop(columns="stop").assign(document=document, name=name)
        if not rest:
            return tokens
        tail = pd.DataFrame([{"text": rest, "document": document, "name": name}])
        return pd.concat([tokens, tail.astype({"text": tokens["text"].dtype})], ignore_index=True)

    # Everything, for other tools

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

    def _examples(self, atom: int, order: str, limit: int, without: int | None = None) -> pd.DataFrame:
        """Example tokens whose passages differ: token, coefficient, repeats (candidates that read exactly the same).

        `without` is a token to leave out before those that read the same become one, such as the atom's source.
        """
        return self._frame(
            f"""
            WITH
                candidates AS (
                    SELECT token, coefficient FROM activations WHERE atom = $1 AND token IS DISTINCT FROM $3
                    ORDER BY {order}, token LIMIT {_CANDIDATES}
                ),
                wanted AS (
                    SELECT token AS centre, coefficient, (token + step)::INTEGER AS token
                    FROM candidates CROSS JOIN range(-{CONTEXT_RADIUS}, {CONTEXT_RADIUS + 1}) AS near(step)
                ),
                found AS (
                    SELECT *, max(document) FILTER (token = centre) OVER (PARTITION BY centre) AS own
                    FROM wanted JOIN tokens USING (token)
                ),
                passages AS (
                    SELECT centre AS token, coefficient, string_agg(text, '' ORDER BY token) AS passage
                    FROM found WHERE document = own GROUP BY centre, coefficient
                )
            SELECT token, coefficient, count(*) OVER (PARTITION BY passage) AS repeats FROM passages
            QUALIFY row_number() OVER (PARTITION BY passage ORDER BY {order}, token) = 1
            ORDER BY {order}, token LIMIT $2
            """,
            [atom, limit, without],
        )

    def _frame(self, sql: str, values: Sequence[Any] = (), may_miss: Collection[str] = ()) -> pd.DataFrame:
        """What a question gives: every number finite, and no value missing but in the columns in which one may be."""
        found = super()._frame(sql, values)
        for name, column in found.items():
            if name not in may_miss and column.isna().any():
                raise self._spoilt(f"no {name} where there has to be one")
            if column.dtype.kind == "f" and np.isinf(column).any():
                raise self._spoilt(f"a {name} that is not finite")
        return found

    def _value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        return self._frame(sql, values).iat[0, 0]


def _plain(value: Any) -> Any:
    """A cell as a plain Python value, None where there is none."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
