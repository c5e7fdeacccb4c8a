"""Index files as they are read: opened together, locked down, and opened anew where DuckDB itself fails.

Every reader has a database of its own in memory, to which the files are attached. DuckDB shares a database that is
opened by its path with whoever has the same path open in this process, and an error within DuckDB invalidates it for
all of them, until the last has closed it; one of its own is simply left behind.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import duckdb
import numpy as np
import pandas as pd

from itda_core.common.errors import DamagedError, EngineError, UserError
from itda_core.index.checks import check_atoms, check_tables
from itda_core.index.schema import TABLES, listed

Connection: TypeAlias = duckdb.DuckDBPyConnection
T = TypeVar("T")

_FAILED = (duckdb.InternalException, duckdb.FatalException)
"""DuckDB failed within itself, now, or earlier and answers nothing since; it says nothing of a file."""


class IndexReader:
    """Index files, open for reading; safe to share between threads, since every question has a cursor of its own.

    Where DuckDB itself fails they are opened anew, and the question is asked once more.
    """

    _MEMORY = "2GB"

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Open index files.

        Args:
            files: by the schema in which the tables of each are found; the same one may be there twice.

        Raises:
            DamagedError: a file is missing, or no index.
            EngineError: DuckDB failed.
        """
        self._files, self._reopening = dict(files), threading.Lock()
        self._connection = self._opened()

    def close(self) -> None:
        """Close the files."""
        self._connection.close()

    def _prepare(self, connection: Connection) -> None:
        """Put tables into a new database, before a file is attached to it and access to what is outside ends."""

    def _derive(self, connection: Connection) -> None:
        """Compute what is asked for later, once the files are open."""

    def _opened(self) -> Connection:
        for path in self._files.values():
            check_file(path)
        connection = duckdb.connect(":memory:", config={"memory_limit": self._MEMORY, "temp_directory": ""})
        try:
            self._open(connection)
        except duckdb.Error as error:
            connection.close()
            raise self._said(error) from error
        except DamagedError:
            connection.close()
            raise
        return connection

    def _open(self, connection: Connection) -> None:
        run = connection.execute
        self._prepare(connection)
        names = {path: f"file_{at}" for at, path in enumerate(dict.fromkeys(self._files.values()))}
        for path, name in names.items():  # no file can be attached twice
            run(f"ATTACH {literal(path)} AS {name} (READ_ONLY)")
        # ATTACH needs access to what is outside. Nothing after it does, and a stranger's index, whose tables may be
        # views of whatever there is, is not looked into before.
        run("SET enable_external_access = false")
        for path, name in names.items():
            check_tables(connection, path, name)
            check_atoms(connection, path, f"{name}.main")
        for schema, path in self._files.items():
            run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for table in TABLES:
                run(f"CREATE VIEW {schema}.{table} AS SELECT {listed(table)} FROM {names[path]}.main.{table}")
        self._derive(connection)
        run("SET lock_configuration = true")

    def _ask(self, work: Callable[[Connection], T]) -> T:
        """What some work on a cursor gives; it is done anew, from its beginning, where DuckDB failed the first time.

        Raises DamagedError for files that cannot be read, EngineError where DuckDB failed again.
        """
        connection = self._connection
        try:
            return self._done(connection, work)
        except _FAILED:
            self._reopen(connection)
        try:
            return self._done(self._connection, work)
        except _FAILED as error:
            raise self._said(error) from error

    def _done(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        try:
            # A cursor of its own: one connection must not serve two threads at once.
            with connection.cursor() as cursor:
                return work(cursor)
        except _FAILED:
            raise
        except duckdb.Error as error:
            raise self._said(error) from error

    def _reopen(self, failed: Connection) -> None:
        """Take another connection in place of one that failed, unless another thread has done so.

        The one that failed is not closed here: it closes with the last thread that is in the middle of asking it.
        """
        with self._reopening:
            if self._connection is failed:
                self._connection = self._opened()

    def _frame(self, sql: str, values: Sequence[Any] = ()) -> pd.DataFrame:
        return self._ask(lambda cursor: cursor.execute(sql, list(values)).df())

    def _arrays(self, sql: str, values: Sequence[Any] = (), cursor: Connection | None = None) -> dict[str, np.ndarray]:
        """The columns that a question gives, on a cursor of its own unless given. In none a value may be missing."""
        if cursor is None:
            return self._ask(lambda own: self._arrays(sql, values, own))
        found = cursor.execute(sql, list(values)).fetchnumpy()
        for name, column in found.items():
            if np.ma.is_masked(column):
                raise self._spoilt(f"no {name} where there has to be one")
        return {name: np.asarray(column) for name, column in found.items()}

    def _said(self, error: duckdb.Error) -> UserError:
        """An error of DuckDB in one line that says what to do."""
        what = str(error).partition("\n")[0]
        if isinstance(error, duckdb.OutOfMemoryException):
            return DamagedError(f"reading {self._name} this way takes more memory than {self._MEMORY}")
        if isinstance(error, _FAILED):
            return EngineError(
                f"DuckDB failed within itself while it read {self._name}: try again, and if it fails each time, see "
                f"with itda verify whether the file is as it was built ({what})"
            )
        return DamagedError(f"{self._name} cannot be read: build the dictionary again ({what})")

    def _spoilt(self, what: str) -> DamagedError:
        return DamagedError(f"{self._name} holds {what}: build the dictionary again")

    @property
    def _name(self) -> str:
        """What is read, for messages."""
        paths = list(self._files.values())
        return f"{paths[0].name} of dictionary {' or '.join(sorted({path.parent.name for path in paths}))}"


def check_file(path: Path) -> None:
    """Raises DamagedError where an index is missing, or has changes beside it that are no part of its hash."""
    if not path.is_file():
        raise DamagedError(f"{path.name} of dictionary {path.parent.name} is missing: build the dictionary again")
    log = path.with_name(f"{path.name}.wal")
    if log.exists() or log.is_symlink():
        raise DamagedError(f"{log.name} of dictionary {path.parent.name} is no part of an index: delete it")


def literal(path: Path) -> str:
    """A path as SQL text, for the statements that take no bound value."""
    return "'" + str(path).replace("'", "''") + "'"
