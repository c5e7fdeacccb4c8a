"""Join of two dictionaries' indexes on their common tokens."""

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from itda_core.common.keys import row_keys
from itda_core.index.connection import Connection, IndexReader, T
from itda_core.queries.pair_filters import (
    MATCH_COLUMNS,
    sides_of,
)

KEYS = ("token", "characters")
"""Criteria for equal sources: document and position, or document and the character at which the token ends."""
_TOKENS_AT_ONCE = 1 << 20  # tokens of both sides that are joined at once
_TYPES = {"atom": "INTEGER", "other": "INTEGER", "correlation": "FLOAT", "together": "INTEGER", "weight": "DOUBLE"}
_TWINS = {
    "token": "x.document = y.document AND x.position = y.position",
    "characters": "x.document = y.document AND x.stop = y.stop",
}


class Measures(NamedTuple):
    """Measures of the atoms of two dictionaries, computed by a job.

    Two tables with the columns MATCH_COLUMNS, in order of atoms.
    """

    a: pd.DataFrame
    """Measures of A's atoms."""
    b: pd.DataFrame
    """Measures of B's atoms."""


class Coverage(NamedTuple):
    """Overlap of the captured tokens of two dictionaries."""

    a: float
    """Share of A's captured tokens that B also captured."""
    b: float
    """Share of B's captured tokens that A also captured."""
    candidates: int
    """Number of possible sources for either: captured on both sides, in documents that neither held out."""


class CommonPlaces(NamedTuple):
    """Tokens that both captured, in B's order, as [n] arrays."""

    token_a: np.ndarray
    """int32 ordinals in A's index."""
    token_b: np.ndarray
    """int32 ordinals in B's index, in ascending order."""
    key: np.ndarray
    """int64 document and position of B's token as one number (`common.keys.row_keys`), in ascending order."""
    atom: np.ndarray
    """int32 atom of A whose source the token is; -1 if there is none."""


class PairTokens(IndexReader):
    """Read-only access to two indexes and their common tokens.

    Safe to share between threads, since every query has its own cursor. The same index may be given twice.
    """

    def __init__(self, path_a: Path, path_b: Path, key: str, measures: Measures | None = None) -> None:
        """Open two indexes over one corpus.

        Args:
            path_a, path_b: their files.
            key: one of KEYS.
            measures: the measures computed by a job, if any.

        Raises:
            DamagedError: a file is missing or not an index.
            EngineError: DuckDB failed.
        """
        self._key, self._measures, self._joining = key, measures, threading.Lock()
        super().__init__({"a": path_a, "b": path_b})

    def _prepare(self, connection: Connection) -> None:
        for side in ("a", "b"):
            columns = ", ".join(f"{name} {_TYPES[name]}" for name in MATCH_COLUMNS)
            connection.execute(f"CREATE SCHEMA {side}; CREATE TABLE {side}.measures ({columns})")
            if self._measures is not None:
                own_measures = getattr(self._measures, side)[list(MATCH_COLUMNS)]  # DuckDB finds it by name
                connection.execute(f"INSERT INTO {side}.measures SELECT * FROM own_measures")
                del own_measures

    def _derive(self, connection: Connection) -> None:
        for side in ("a", "b"):
            # If several tokens end at the same character (as its bytes do), the last one represents it, since the
            # complete character is read only up to there. If several atoms have the same source, which occurs only in
            # dictionaries of other tools, the first one represents it.
            is_standing = "token = source" + ("" if self._key == "token" else " AND is_last")
            connection.execute(
                f"""
                CREATE TABLE {side}.sources AS
                WITH
                    -- the tokens that are wanted first: tokens, of which there are millions, is joined once
                    wanted AS (
                        SELECT source, (source + step)::INTEGER AS token
                        FROM (SELECT DISTINCT token AS source FROM {side}.atoms) CROSS JOIN range(2) AS near(step)
                    ),
                    found AS (SELECT source, t.* FROM wanted JOIN {side}.tokens t USING (token)),
                    standing AS (
                        SELECT * FROM (
                            SELECT *,
                                stop IS DISTINCT FROM lead(stop) OVER (PARTITION BY source, document ORDER BY token)
                                AS is_last
                            FROM found
                        ) WHERE {is_standing}
                    )
                SELECT min(atom)::INTEGER AS atom, s.token, s.document, s.position, s.stop
                FROM {side}.atoms JOIN standing s USING (token)
                GROUP BY s.token, s.document, s.position, s.stop
                """
            )
        connection.execute(
            f"""
            CREATE TABLE pairs AS
            WITH twins AS (SELECT x.atom AS a, y.atom AS b FROM a.sources x JOIN b.sources y ON {_TWINS[self._key]})
            SELECT 'both' AS part, a, b FROM twins
            UNION ALL SELECT 'a', atom, NULL FROM a.atoms WHERE atom NOT IN (SELECT a FROM twins)
            UNION ALL SELECT 'b', NULL, atom FROM b.atoms WHERE atom NOT IN (SELECT b FROM twins)
            """
        )

    def _of_common(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which requires the table `common`.

        The table holds the tokens that both captured, and is created first if it does not exist.
        """

        def joined(cursor: Connection) -> T:
            self._join_tokens(cursor)
            return work(cursor)

        with self._joining:
            return self._ask(joined)

    def _join_tokens(self, cursor: Connection) -> None:
        """Create the table `common`, unless it exists.

        Joins some documents at a time, so that memory holds their join and its result. It is created only on request,
        since there may be many common tokens. `candidate` is true if either dictionary could have taken the token as a
        source.
        """
        if cursor.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'common' AND NOT internal").fetchall():
            return
        columns = "token_a INTEGER, token_b INTEGER, kind_a INTEGER, kind_b INTEGER, candidate BOOLEAN"
        cursor.execute(f"CREATE OR REPLACE TABLE part_of_common ({columns})")
        for first, stop in self._document_ranges(cursor):
            seen = ", ".join(f"{side} AS ({_captured(side)})" for side in ("x", "y"))
            cursor.execute(
                f"""
                INSERT INTO part_of_common
                WITH {seen}
                SELECT x.token, y.token, x.token_id, y.token_id, NOT (x.held_out OR y.held_out)
                FROM x JOIN y ON {_TWINS[self._key]} {"" if self._key == "token" else "AND x.is_last AND y.is_last"}
                """,
                [first, stop, first, stop],
            )
        cursor.execute("ALTER TABLE part_of_common RENAME TO common")

    def _document_ranges(self, cursor: Connection) -> Iterator[tuple[int, int]]:
        """Yield ranges of documents, each as its first document and its excluded end.

        Each range has about _TOKENS_AT_ONCE tokens of both sides at most, or is one document.
        """
        counts = self._arrays(
            """
            SELECT document, sum(n)::BIGINT AS n FROM (
                SELECT document, count(*) AS n FROM a.tokens GROUP BY document
                UNION ALL SELECT document, count(*) AS n FROM b.tokens GROUP BY document
            ) GROUP BY document ORDER BY document
            """,
            cursor=cursor,
        )
        document, part = counts["document"].tolist(), (np.cumsum(counts["n"]) - 1) // _TOKENS_AT_ONCE
        starts = [document[at] for at in np.flatnonzero(np.diff(part, prepend=-1))]
        yield from pairwise([*starts, *(each + 1 for each in document[-1:])])

    def coverage(self) -> Coverage:
        """Return the overlap of the captured tokens."""
        sql = """
            SELECT (SELECT count(*) FROM common) AS common,
                (SELECT count(*) FROM a.tokens WHERE error IS NOT NULL) AS n_a,
                (SELECT count(*) FROM b.tokens WHERE error IS NOT NULL) AS n_b,
                (SELECT count(*) FROM common WHERE candidate) AS candidates
            """
        row = self._of_common(lambda cursor: cursor.execute(sql).df()).iloc[0]
        return Coverage(row["common"] / max(1, row["n_a"]), row["common"] / max(1, row["n_b"]), int(row["candidates"]))

    def strata(self) -> pd.DataFrame:
        """Count the candidates by the frequency of their token.

        Columns: n (number of candidates), and among them a, b, both (number of sources of A, of B, of both). Two tokens
        are in the same stratum if the base-2 logarithms of their counts among the candidates round down to the same
        number, on each side.
        """
        sql = """
            WITH
                frequent_a AS (SELECT kind_a, count(*) AS often_a FROM common WHERE candidate GROUP BY kind_a),
                frequent_b AS (SELECT kind_b, count(*) AS often_b FROM common WHERE candidate GROUP BY kind_b),
                chosen AS (
                    SELECT floor(log2(often_a)) AS stratum_a, floor(log2(often_b)) AS stratum_b,
                        x.token IS NOT NULL AS in_a, y.token IS NOT NULL AS in_b
                    FROM common JOIN frequent_a USING (kind_a) JOIN frequent_b USING (kind_b)
                        LEFT JOIN a.sources x ON x.token = token_a LEFT JOIN b.sources y ON y.token = token_b
                    WHERE candidate
                )
            SELECT count(*) AS n, count(*) FILTER (in_a) AS a, count(*) FILTER (in_b) AS b,
                count(*) FILTER (in_a AND in_b) AS "both"
            FROM chosen GROUP BY stratum_a, stratum_b ORDER BY stratum_a, stratum_b
            """
        return self._of_common(lambda cursor: cursor.execute(sql).df())

    def documents(self) -> pd.DataFrame:
        """Return the documents from which either side could take sources.

        Columns: document, and for each part of PARTITION the number of pairs whose source is in it.
        """
        return self._frame(
            """
            WITH
                seen AS (
                    SELECT document FROM a.tokens JOIN a.documents USING (document)
                    WHERE error IS NOT NULL AND NOT held_out
                    UNION
                    SELECT document FROM b.tokens JOIN b.documents USING (document)
                    WHERE error IS NOT NULL AND NOT held_out
                ),
                chosen AS (
                    SELECT coalesce(x.document, y.document) AS document, part
                    FROM pairs LEFT JOIN a.atoms x ON x.atom = a LEFT JOIN b.atoms y ON y.atom = b
                )
            SELECT document, count(*) FILTER (part = 'both') AS "both", count(*) FILTER (part = 'a') AS a,
                count(*) FILTER (part = 'b') AS b
            FROM (SELECT document FROM seen UNION SELECT document FROM chosen) LEFT JOIN chosen USING (document)
            GROUP BY document ORDER BY document
            """
        )

    def common_tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ordinals of the tokens that both captured, in A's index and in B's.

        Two [n] int32 arrays, in B's order, each without repetitions.

        Raises DamagedError for an index whose tokens or documents are not unique.
        """
        sql = "SELECT token_a, token_b FROM common"
        found = self._of_common(lambda cursor: self._arrays(sql, cursor=cursor))
        order = np.argsort(found["token_b"], kind="stable")
        token_a, token_b = (found[name][order].astype(np.int32) for name in ("token_a", "token_b"))
        if (np.diff(token_b) <= 0).any() or (np.diff(np.sort(token_a)) <= 0).any():
            raise self._spoilt("tokens that are joined twice")
        return token_a, token_b

    def common_places(self) -> CommonPlaces:
        """Return the tokens that both captured, with their keys in B and A's atoms.

        The keys locate their activations in B's model; the atoms are those of A whose source they are.
        """
        token_a, token_b = self.common_tokens()
        sources = self._arrays("SELECT token, atom FROM a.sources")
        _, at, of = np.intersect1d(token_a, sources["token"], assume_unique=True, return_indices=True)
        atom = np.full(len(token_a), -1, np.int32)
        atom[at] = sources["atom"][of]
        return CommonPlaces(token_a, token_b, self._keys_of_b(token_b), atom)

    def _keys_of_b(self, tokens: np.ndarray) -> np.ndarray:
        """Return the `row_keys` of some of B's tokens.

        `tokens` are in ascending order, and so are the keys, [n] int64. The tokens are read a range at a time,
        unsorted, to bound memory.
        """
        keys = np.empty(len(tokens), np.int64)
        begin = 0
        while begin < len(tokens):
            first = int(tokens[begin])
            end = int(np.searchsorted(tokens, first + _TOKENS_AT_ONCE))
            found = self._arrays(
                "SELECT token, document, position FROM b.tokens WHERE token >= ? AND token < ?",
                [first, first + _TOKENS_AT_ONCE],
            )
            order = np.argsort(found["token"])
            rows = order[np.searchsorted(found["token"], tokens[begin:end], sorter=order)]
            try:
                keys[begin:end] = row_keys(np.stack([found["document"][rows], found["position"][rows]], 1))
            except ValueError as error:
                raise self._spoilt("tokens at places that cannot be") from error
            begin = end
        return keys

    def fires(self, side: str) -> np.ndarray:
        """Return the number of captured tokens on which each atom of a side fires.

        [n_atoms] int64.
        """
        side, _ = sides_of(side)
        return self._arrays(f'SELECT "count" AS fires FROM {side}.atoms ORDER BY atom')["fires"].astype(np.int64)

    def codes_of_atoms(self, side: str, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return atom, token and coefficient of the codes of a range of atoms.

        The range is from `first` (included) to `stop` (excluded); the codes are in order of atoms.
        """
        side, _ = sides_of(side)
        found = self._arrays(
            f"SELECT atom, token, coefficient FROM {side}.activations WHERE atom >= ? AND atom < ? ORDER BY atom",
            [first, stop],
        )
        return found["atom"], found["token"], found["coefficient"]

    def codes_of_tokens(
        self, side: str, tokens: tuple[int, int], atoms: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return token, atom and coefficient of the codes of a range of tokens and atoms.

        The codes are in order of tokens.

        Args:
            side: `a` or `b`.
            tokens: range of ordinals of tokens: the first, and the excluded end.
            atoms: range of atoms: the first, and the excluded end.
        """
        side, _ = sides_of(side)
        found = self._arrays(
            f"""
            SELECT token, atom, coefficient FROM {side}.codes
            WHERE token >= ? AND token < ? AND atom >= ? AND atom < ? ORDER BY token
            """,
            [*tokens, *atoms],
        )
        return found["token"], found["atom"], found["coefficient"]


def _captured(side: str) -> str:
    """Return the SQL of the captured tokens in a range of documents.

    Those of A for side `x`, of B for side `y`.
    """
    schema = {"x": "a", "y": "b"}[side]
    return f"""
        SELECT * FROM (
            SELECT token, document, position, stop, token_id, error,
                stop IS DISTINCT FROM lead(stop) OVER (PARTITION BY document ORDER BY token) AS is_last
            FROM {schema}.tokens WHERE document >= ? AND document < ?
        ) JOIN (SELECT document, held_out FROM {schema}.documents) USING (document) WHERE error IS NOT NULL
    """
