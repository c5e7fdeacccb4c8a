"""Validate an index file before it is queried.

It may be untrusted even if its hash matches. The tables and the atoms are checked whenever it is opened, every row when
it is imported.
"""

from pathlib import Path

import duckdb

from itda_core.common.errors import DamagedError
from itda_core.index.schema import HISTOGRAM_BINS, MAY_MISS, TABLES

_NUMBERED = {"documents": "document", "tokens": "token", "atoms": "atom"}
"""Tables with consecutive row numbers from 0, and the column that holds them."""
_LARGEST = 3.4e38  # maximum of single-precision values
_OF_AN_ATOM = "atom BETWEEN 0 AND (SELECT count(*) FROM {schema}.atoms) - 1"
_OF_TWO = _OF_AN_ATOM + " AND other BETWEEN 0 AND (SELECT count(*) FROM {schema}.atoms) - 1"
_ON_A_TOKEN = _OF_AN_ATOM + " AND token BETWEEN 0 AND (SELECT count(*) FROM {schema}.tokens) - 1"
_CODES = {"of atoms or tokens that are not there": _ON_A_TOKEN, "that are no numbers": "isfinite(coefficient)"}
_ROWS = {
    "tokens": {
        "of documents that are not there": "document BETWEEN 0 AND (SELECT count(*) FROM {schema}.documents) - 1",
        "at places that cannot be": "position >= 0 AND token_id >= 0 AND start BETWEEN 0 AND stop",
        "with errors that cannot be": f"error IS NULL OR error BETWEEN 0 AND {_LARGEST}",
    },
    "atoms": {
        "with counts that cannot be": "count >= 0 AND density BETWEEN 0 AND 1",
        "with coefficients that cannot be": """
            CASE WHEN count = 0 THEN coalesce(mean, maximum, minimum, strongest) IS NULL
            ELSE isfinite(mean) AND isfinite(strongest) AND strongest >= 0 AND isfinite(maximum) AND isfinite(minimum)
                AND minimum <= maximum END
            """,
        "with errors that cannot be": f"admission_error IS NULL OR admission_error BETWEEN 0 AND {_LARGEST}",
        "from tokens that are not there": """
            CASE WHEN token = -1 THEN document = -1 AND position = -1
            ELSE token BETWEEN 0 AND (SELECT count(*) FROM {schema}.tokens) - 1 AND document >= 0 AND position >= 0 END
            """,
    },
    "activations": _CODES,
    "codes": _CODES,
    "histograms": {
        "of atoms that are not there": _OF_AN_ATOM,
        "with counts that cannot be": f"bin BETWEEN 0 AND {HISTOGRAM_BINS - 1} AND count > 0",
    },
    "examples": {**_CODES, "of no rank": "rank > 0"},
    "neighbours": {
        "of atoms that are not there": _OF_TWO,
        "that cannot be": "rank > 0 AND cosine BETWEEN -1.001 AND 1.001",  # with a tolerance for rounding
    },
    "cofiring": {
        "of atoms that are not there": _OF_TWO,
        "that cannot be": "rank > 0 AND together > 0 AND jaccard BETWEEN 0 AND 1",
    },
}
"""Table → description of invalid rows → condition that every valid row meets."""
_TOGETHER = {
    "tokens that are at one place": """
        SELECT count(*) = count(DISTINCT (document::BIGINT << 32) + position) FROM {schema}.tokens
        """,
    "atoms whose source is another token": """
        SELECT count(*) = 0 FROM {schema}.atoms a JOIN {schema}.tokens t USING (token)
        WHERE (a.document, a.position, a.token_id) <> (t.document, t.position, t.token_id)
        """,
    "counts of other activations": """
        SELECT bool_and(a.count = coalesce(n, 0)) FROM {schema}.atoms a
            LEFT JOIN (SELECT atom, count(*) AS n FROM {schema}.activations GROUP BY atom) USING (atom)
        """,
    "histograms of other activations": """
        SELECT bool_and(a.count = coalesce(n, 0)) FROM {schema}.atoms a
            LEFT JOIN (SELECT atom, sum(count) AS n FROM {schema}.histograms GROUP BY atom) USING (atom)
        """,
    "cofiring of atoms that fire less often": """
        SELECT bool_and(together <= least(a.count, b.count)) FROM {schema}.cofiring c
            JOIN {schema}.atoms a ON a.atom = c.atom JOIN {schema}.atoms b ON b.atom = c.other
        """,
    "codes that are other activations": """
        SELECT (SELECT (count(*), bit_xor(hash(atom, token, coefficient))) FROM {schema}.codes)
            IS NOT DISTINCT FROM (SELECT (count(*), bit_xor(hash(atom, token, coefficient))) FROM {schema}.activations)
        """,
}
"""Description of an inconsistency between tables → query that returns true if they are consistent."""


def check_tables(connection: duckdb.DuckDBPyConnection, path: Path, database: str) -> None:
    """Check that an index has exactly the expected tables, and no computed content.

    Args:
        connection: connection to which it is attached.
        path: its file, for the message.
        database: its name in the connection.

    Raises DamagedError, or duckdb.Error if the file cannot be read.
    """

    def found(selection: str) -> list[tuple]:
        return connection.execute(f"SELECT {selection} AND database_name = ?", [database]).fetchall()

    # A function defined in the file would shadow DuckDB's of the same name in every query.
    if found("1 FROM duckdb_functions() WHERE NOT internal"):
        raise _no_index(path, "functions of its own")
    tables = found("table_name, sql FROM duckdb_tables() WHERE schema_name = 'main'")
    plain = {name for name, sql in tables if "GENERATED ALWAYS" not in sql}
    columns = {table: {} for table in TABLES}
    for table, column, kind in found("table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"):
        columns.get(table, {})[column] = kind
    for table, expected in TABLES.items():
        if table not in plain:
            raise _no_index(path, f"no plain table {table}")
        if columns[table] != expected:
            raise _no_index(path, f"other columns in {table} than an index has")


def check_atoms(connection: duckdb.DuckDBPyConnection, path: Path, schema: str) -> None:
    """Check that an index's atoms are numbered and their values are valid; fast.

    Args:
        connection: connection to which it is attached.
        path: its file, for the message.
        schema: schema of its tables.

    Raises DamagedError, or duckdb.Error if the file cannot be read.
    """
    _check_rows(connection, path, schema, "atoms")


def check_index(connection: duckdb.DuckDBPyConnection, path: Path, schema: str) -> None:
    """Check every row of an index; takes seconds for a large one.

    Arguments and errors are those of `check_atoms`.
    """
    for table in TABLES:
        _check_rows(connection, path, schema, table)
    for problem, question in _TOGETHER.items():
        if connection.execute(question.format(schema=schema)).fetchall() == [(False,)]:
            raise _no_index(path, problem)


def _check_rows(connection: duckdb.DuckDBPyConnection, path: Path, schema: str, table: str) -> None:
    always_there = TABLES[table].keys() - MAY_MISS.get(table, set())
    rows = {f"without a {column}": f'"{column}" IS NOT NULL' for column in sorted(always_there)} | _ROWS.get(table, {})
    wrong = {problem: f"bool_and(coalesce({condition}, false))" for problem, condition in rows.items()}
    if (number := _NUMBERED.get(table)) is not None:
        wrong["that are not numbered from 0 on, each once"] = (
            f"count(*) = count(DISTINCT {number}) AND min({number}) = 0 AND max({number}) + 1 = count(*)"
        )
    question = f"SELECT {', '.join(wrong.values())} FROM {{schema}}.{table}".format(schema=schema)
    (answers,) = connection.execute(question).fetchall()
    for problem, answer in zip(wrong, answers, strict=True):
        if answer is False:  # None if there are no rows
            raise _no_index(path, f"{table} {problem}")


def _no_index(path: Path, problem: str) -> DamagedError:
    return DamagedError(
        f"{path.name} of dictionary {path.parent.name} holds {problem}, and is no index: build the dictionary again"
    )
