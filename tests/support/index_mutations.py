"""Ways in which an index and a map can be other than they were written, drawn by lot."""

import random
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from itda_core.index.schema import TABLES

ODD = {
    "INTEGER": ["NULL", "-1", "0", "7", "23", "24", "1000000", "2147483647", "-2147483648"],
    "BIGINT": ["NULL", "-1", "0", "5", "9223372036854775807", "-9223372036854775808"],
    "FLOAT": ["NULL", "'nan'", "'inf'", "'-inf'", "-5", "0", "1e38", "-1e38", "1e-40"],
    "DOUBLE": ["NULL", "'nan'", "'inf'", "'-inf'", "-5", "0", "2", "1e308", "1e-308"],
    "VARCHAR": ["NULL", "''", "'x'", "chr(0)", "chr(8238)", "repeat('y', 10000)"],
    "BOOLEAN": ["NULL", "true"],
}
TYPES = ["VARCHAR", "BIGINT", "DOUBLE", "FLOAT", "INTEGER", "SMALLINT", "BOOLEAN", "BLOB", "INTEGER[]", "DATE"]

Draw = random.Random


def mutate_index(path: Path, draw: Draw) -> str:
    """Change an index file in one way; returns which."""
    while True:
        try:
            return draw.choices([_with_sql, _flipped, _cut_short], [8, 3, 1])[0](path, draw)
        except duckdb.Error:  # a statement that this file does not take: another is drawn
            continue


def _with_sql(path: Path, draw: Draw) -> str:
    table = draw.choice(list(TABLES))
    column, kind = draw.choice(list(TABLES[table].items()))
    value = draw.choice(ODD[kind])
    row = f"rowid = {draw.randrange(20)}"
    where = draw.choice(["", f"WHERE {row}", f"WHERE {row}", "WHERE rowid % 3 = 0", "WHERE rowid < 15"])
    other = draw.choice(TYPES)
    statement = draw.choice(
        [
            *[f'UPDATE {table} SET "{column}" = {value} {where}'] * 8,
            f'UPDATE {table} SET "{column}" = o."{column}" FROM {table} o WHERE o.rowid = {table}.rowid + 1',
            f'ALTER TABLE {table} ALTER "{column}" TYPE {other} USING TRY_CAST("{column}" AS {other})',
            f'ALTER TABLE {table} DROP "{column}"',
            f'ALTER TABLE {table} RENAME "{column}" TO other',
            f"ALTER TABLE {table} ADD COLUMN more INTEGER",
            f"DELETE FROM {table} {where}",
            f"DELETE FROM {table} WHERE {row}",
            f"INSERT INTO {table} SELECT * FROM {table} {where}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} RENAME TO real; CREATE VIEW {table} AS SELECT * FROM real",
            f"CREATE MACRO {draw.choice(['coalesce(x, y)', 'lower(x)', 'contains(x, y)'])} AS 7",
        ]
    )
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)
        connection.execute("CHECKPOINT")
    return statement


def _flipped(path: Path, draw: Draw) -> str:
    content = bytearray(path.read_bytes())
    # Most of a small file is empty; what says where things are stands at its beginning.
    places = [draw.randrange(min(len(content), draw.choice([40_000, 10**9]))) for _ in range(draw.choice([1, 1, 20]))]
    for at in places:
        content[at] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return f"flipped at {places}"


def _cut_short(path: Path, draw: Draw) -> str:
    size = draw.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(size)
    return f"cut to {size}"


def mutate_map(path: Path, draw: Draw) -> str:
    """Change a map in one way; returns which."""
    change = draw.choice([_flipped, _flipped, _cut_short, _with_other_columns])
    return change(path, draw)


def _with_other_columns(path: Path, draw: Draw) -> str:
    table = parquet.read_table(path)
    name = draw.choice(table.column_names)
    at, column = table.column_names.index(name), table[name].to_pylist()
    changes: dict[str, Callable[[], pa.Table]] = {
        "text": lambda: table.set_column(at, name, pa.array([str(value) for value in column])),
        "nothing": lambda: table.set_column(at, name, pa.nulls(len(column), table[name].type)),
        "a null": lambda: table.set_column(at, name, pa.array([None, *column[1:]], table[name].type)),
        "not finite": lambda: table.set_column(at, name, pa.array([np.inf, *column[1:]], pa.float32())),
        "no number": lambda: table.set_column(at, "x", pa.array([np.nan, *table["y"].to_pylist()[1:]], pa.float32())),
        "too few": lambda: table.slice(draw.randrange(1, len(table))),
        "too many": lambda: pa.concat_tables([table, table.slice(0, draw.randrange(1, len(table)))]),
        "other atoms": lambda: table.set_column(
            0, "atom", pa.array([draw.randrange(-3, 40) for _ in column], pa.int64())
        ),
        "lists": lambda: table.set_column(at, name, pa.array([[value] for value in column])),
        "no column": lambda: table.drop_columns([name]),
    }
    what = draw.choice(list(changes))
    parquet.write_table(changes[what](), path)
    return f"{what} in {name}"
