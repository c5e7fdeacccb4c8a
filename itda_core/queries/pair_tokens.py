"""Two dictionaries' indexes joined on their common tokens."""

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
"""What makes two sources the same: document and position, or document and the character where the token ends."""
_TOKENS_AT_ONCE = 1 << 20  # of both sides, joined
_TYPES = {"atom": "INTEGER", "other": "INTEGER", "correlation": "FLOAT", "together": "INTEGER", "weight": "DOUBLE"}
_TWINS = {
    "token": "x.document = y.document AND x.position = y.position",
    "characters": "x.document = y.document AND x.stop = y.stop",
}


class Measures(NamedTuple):
    """What a job measured of the atoms of two dictionaries: two tables of MATCH_COLUMNS, in order of atoms."""

    a: pd.DataFrame
    """Of A's atoms."""
    b: pd.DataFrame
    """Of B's."""


class Coverage(NamedTuple):
    """How far two dictionaries saw the same tokens."""

    a: float
    """Share of A's captured tokens that B captured too."""
    b: float
    """Share of B's captured tokens that A captured too."""
    candidates: int
    """Tokens that could have become an atom of either: captured on both sides, in documents that neither held out."""


class CommonPlaces(NamedTuple):
    """The tokens that both captured, in B's order: [n] arrays."""

    token_a: np.ndarray
    """int32 ordinals in A's index."""
    token_b: np.ndarray
    """int32 ordinals in B's index, rising."""
    key: np.ndarray
    """int64 document and position of B's token as one rising number (`similarity.sources.row_keys`)."""
    atom: np.ndarray
    """int32 atom of A whose source it is; -1 where it is none's."""


class PairTokens(IndexReader):
    """Two indexes, open for reading; safe to share between threads, since every query has its own cursor.

    The same index may be given twice.
    """

    _MEMORY = "1GB"

    def __init__(self, path_a: Path, path_b: Path, key: str, measures: Measures | None = None) -> None:
        """Open two indexes over one corpus.

        Args:
            path_a, path_b: their files.
            key: one of KEYS.
            measures: what a job measured, where it has.

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
                given = getattr(self._measures, side)[list(MATCH_COLUMNS)]  # found by its name in the statement
                connection.execute(f"INSERT INTO {side}.measures SELECT * FROM given")
                del given

    def _derive(self, connection: Connection) -> None:
        for side in ("a", "b"):
            # Of several tokens that end at one character (the bytes of it) the last stands for it: it alone has read it
            # whole. And of several atoms with one source, which only a foreign dictionary has, the first.
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
        """What some work gives for which `common` has to be there: the tokens that both captured."""

        def joined(cursor: Connection) -> T:
            self._join_tokens(cursor)
            return work(cursor)

        with self._joining:
            return self._ask(joined)

    def _join_tokens(self, cursor: Connection) -> None:
        """Make `common`, unless it is there: some documents at a time, so that memory holds their join and its result.

        There may be many of them: it is made when it is asked for. `candidate` where either dictionary could have taken
        the token as a source.
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
        """Ranges of documents, the last not included, with so many tokens of both at most each, or of one document."""
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
        """How far the two saw the same tokens."""
        sql = """
            SELECT (SELECT count(*) FROM common) AS common,
                (SELECT count(*) FROM a.tokens WHERE error IS NOT NULL) AS n_a,
                (SELECT count(*) FROM b.tokens WHERE error IS NOT NULL) AS n_b,
                (SELECT count(*) FROM common WHERE candidate) AS candidates
            """
        row = self._of_common(lambda cursor: cursor.execute(sql).df()).iloc[0]
        return Coverage(row["common"] / max(1, row["n_a"]), row["common"] / max(1, row["n_b"]), int(row["candidates"]))

    def strata(self) -> pd.DataFrame:
        """The candidates by how frequent their token is: n, a, b, both (of these, sources of A, of B, of both).

        Two tokens are as frequent where the base-2 logarithms of their counts among the candidates round down to the
        same, on either side.
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
        """Documents that either side could take sources from: document, and how many pairs of each of PARTS it gave."""
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
                given AS (
                    SELECT coalesce(x.document, y.document) AS document, part
                    FROM pairs LEFT JOIN a.atoms x ON x.atom = a LEFT JOIN b.atoms y ON y.atom = b
                )
            SELECT document, count(*) FILTER (part = 'both') AS "both", count(*) FILTER (part = 'a') AS a,
                count(*) FILTER (part = 'b') AS b
            FROM (SELECT document FROM seen UNION SELECT document FROM given) LEFT JOIN given USING (document)
            GROUP BY document ORDER BY document
            """
        )

    def common_tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Ordinals of the tokens that both captured, in A's index and in B's, in B's order: two [n] int32 arrays."""
        sql = "SELECT token_a, token_b FROM common"
        found = self._of_common(lambda cursor: self._arrays(sql, cursor=cursor))
        order = np.argsort(found["token_b"], kind="stable")
        return found["token_a"][order].astype(np.int32), found["token_b"][order].astype(np.int32)

    def common_places(self) -> CommonPlaces:
        """The tokens that both captured, with what finds them in B's model and which of them are A's sources."""
        token_a, token_b = self.common_tokens()
        sources = self._arrays("SELECT token, atom FROM a.sources")
        _, at, of = np.intersect1d(token_a, sources["token"], assume_unique=True, return_indices=True)
        atom = np.full(len(token_a), -1, np.int32)
        atom[at] = sources["atom"][of]
        return CommonPlaces(token_a, token_b, self._keys_of_b(token_b), atom)

    def _keys_of_b(self, tokens: np.ndarray) -> np.ndarray:
        """[n] int64 `row_keys` of some of B's tokens, rising; a range of them at a time, unsorted, to bound memory."""
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
            keys[begin:end] = row_keys(np.stack([found["document"][rows], found["position"][rows]], 1))
            begin = end
        return keys

    def fires(self, side: str) -> np.ndarray:
        """[n_atoms] int64: on how many captured tokens each atom of a side fires."""
        side, _ = sides_of(side)
        return self._arrays(f'SELECT "count" AS fires FROM {side}.atoms ORDER BY atom')["fires"].astype(np.int64)

    def codes_of_atoms(self, side: str, first: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Atom, token and coefficient of the codes of atoms from `first` to `stop`, in order of atoms."""
        side, _ = sides_of(side)
        found = self._arrays(
            f"SELECT atom, token, coefficient FROM {side}.activations WHERE atom >= ? AND atom < ? ORDER BY atom",
            [first, stop],
        )
        return found["atom"], found["token"], found["coefficient"]

    def codes_of_tokens(
        self, side: str, tokens: tuple[int, int], atoms: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token, atom and coefficient of the codes on some tokens that belong to some atoms, in order of tokens.

        Args:
            side: `a` or `b`.
            tokens: first and behind the last of their ordinals.
            atoms: the same of the atoms.
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
    """SQL of the captured tokens in a range of documents: of A for side `x`, of B for `y`."""
    schema = {"x": "a", "y": "b"}[side]
    return f"""
        SELECT * FROM (
            SELECT token, document, position, stop, token_id, error,
                stop IS DISTINCT FROM lead(stop) OVER (PARTITION BY document ORDER BY token) AS is_last
            FROM {schema}.tokens WHERE document >= ? AND document < ?
        ) JOIN (SELECT document, held_out FROM {schema}.documents) USING (document) WHERE error IS NOT NULL
    """
