"""Read index files: attached together, locked down, and reopened if DuckDB fails or others need the memory.

Every reader has a database of its own in memory, to which the files are attached. DuckDB shares a database that is
opened by its path with every other user of the path in this process, and an internal error of DuckDB invalidates it for
all of them, until the last has closed it; a reader's own database is simply discarded.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import duckdb
import numpy as np
import pandas as pd

from itda_core.common.errors import DamagedError, EngineError, UserError
from itda_core.index.checks import check_atoms, check_tables
from itda_core.index.memory import FAILED, THREADS, SharedDatabase
from itda_core.index.schema import TABLES, listed

Connection: TypeAlias = duckdb.DuckDBPyConnection
T = TypeVar("T")


class IndexReader(SharedDatabase):
    """Read-only access to index files.

    Safe to share between threads, since every query has a cursor of its own. If DuckDB itself fails the files are
    reopened, and the query is run once more.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Open index files.

        Args:
            files: by the schema in which the tables of each are found; the same file may occur twice.

        Raises:
            DamagedError: a file is missing, or not an index.
            EngineError: DuckDB failed.
        """
        self._files = dict(files)
        self._check_files()
        super().__init__(list(self._files.values()))
        with self._in_use():  # opened now, to report what is wrong with it
            pass

    def _prepare(self, connection: Connection) -> None:
        """Create tables in a new database, before files are attached.

        External access is still enabled.
        """

    def _derive(self, connection: Connection) -> None:
        """Compute tables for later queries, after the files are attached."""

    def _check_files(self) -> None:
        for path in self._files.values():
            check_file(path)

    def _opened(self) -> Connection:
        self._check_files()
        config = {"memory_limit": f"{self._mib}MiB", "threads": THREADS, "temp_directory": ""}
        connection = duckdb.connect(":memory:", config=config)
        try:
            self._open(connection)
        except duckdb.Error as error:
            connection.close()
            raise self._user_error(error) from error
        except DamagedError:
            connection.close()
            raise
        return connection

    def _open(self, connection: Connection) -> None:
        run = connection.execute
        self._prepare(connection)
        names = {path: f"file_{at}" for at, path in enumerate(dict.fromkeys(self._files.values()))}
        for path, name in names.items():  # a file cannot be attached twice
            run(f"ATTACH {literal(path)} AS {name} (READ_ONLY)")
        # ATTACH needs external access; nothing after it does. An untrusted index, whose tables may be views of external
        # files, is not read before access is disabled.
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
        """Return the result of `work` on a cursor; retried once if DuckDB itself fails.

        The retry starts from the beginning. Raises DamagedError for files that cannot be read, EngineError if DuckDB
        failed again.
        """
        try:
            return self._done(work)
        except FAILED:
            pass
        try:
            return self._done(work)
        except FAILED as error:
            raise self._user_error(error) from error

    def _done(self, work: Callable[[Connection], T]) -> T:
        try:
            # A cursor of its own: one connection must not serve two threads at once.
            with self._in_use() as connection, connection.cursor() as cursor:
                return work(cursor)
        except FAILED:
            raise
        except duckdb.Error as error:
            raise self._user_error(error) from error

    def _frame(self, sql: str, values: Sequence[Any] = ()) -> pd.DataFrame:
        return self._ask(lambda cursor: cursor.execute(sql, list(values)).df())

    def _arrays(self, sql: str, values: Sequence[Any] = (), cursor: Connection | None = None) -> dict[str, np.ndarray]:
        """Return the columns of a query, on a cursor of its own by default.

        Raises DamagedError if a value is missing.
        """
        if cursor is None:
            return self._ask(lambda own: self._arrays(sql, values, own))
        found = cursor.execute(sql, list(values)).fetchnumpy()
        for name, column in found.items():
            if np.ma.is_masked(column):
                raise self._spoilt(f"no {name} where there has to be one")
        return {name: np.asarray(column) for name, column in found.items()}

    def _user_error(self, error: duckdb.Error) -> UserError:
        """Convert an error of DuckDB to a one-line error with a remedy."""
        problem = str(error).partition("\n")[0]
        if isinstance(error, duckdb.OutOfMemoryException):
            return DamagedError(f"reading {self._name} this way takes more memory than {self._mib} MiB")
        if isinstance(error, FAILED):
            return EngineError(
                f"DuckDB failed within itself while it read {self._name}: try again, and if it fails each time, see "
                f"with itda verify whether the file is as it was built ({problem})"
            )
        return DamagedError(f"{self._name} cannot be read: build the dictionary again ({problem})")

    def _spoilt(self, problem: str) -> DamagedError:
        return DamagedError(f"{self._name} holds {problem}: build the dictionary again")

    @property
    def _mib(self) -> int:
        return self.share >> 20

    @property
    def _name(self) -> str:
        """Name of the files, for messages."""
        paths = list(self._files.values())
        return f"{paths[0].name} of dictionary {' or '.join(sorted({path.parent.name for path in paths}))}"


def check_file(path: Path) -> None:
    """Raise DamagedError if an index is missing, or has a write-ahead log beside it.

    The log's changes would not be part of the hash.
    """
    if not path.is_file():
        raise DamagedError(f"{path.name} of dictionary {path.parent.name} is missing: build the dictionary again")
    log = path.with_name(f"{path.name}.wal")
    if log.exists() or log.is_symlink():
        raise DamagedError(f"{log.name} of dictionary {path.parent.name} is no part of an index: delete it")


def literal(path: Path) -> str:
    """Return a path as an SQL literal, for statements without bound values."""
    return "'" + str(path).replace("'", "''") + "'"
