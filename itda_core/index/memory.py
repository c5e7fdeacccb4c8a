"""One cap on the memory of all index files that this process has open.

DuckDB bounds the memory of a database, and readers have one each. So each gets a share of one amount, by the size of
its files, and the least recently used are closed to make room; a closed one is opened again when it is next read.
"""

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

import duckdb

TOTAL = 4 << 30
"""Bytes that all open databases may take together."""
THREADS = min(4, os.cpu_count() or 1)
"""Threads of one database, which share its memory."""
_LEAST, _MOST = 128 << 20, 2 << 30  # bytes of one database
_PER_BYTE = 4  # of its files; reading all activations of 78 MB at once takes between 128 and 256 MB

FAILED = (duckdb.InternalException, duckdb.FatalException)
"""Internal errors of DuckDB, or of a database that one has invalidated; they do not imply that a file is damaged."""

_changed = threading.Condition()
_open: "WeakSet[SharedDatabase]" = WeakSet()
_uses = itertools.count()


class SharedDatabase:
    """A database that is open while it is used, and afterwards until others need its share of the memory."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Compute the share of a database that reads files, which is not opened yet."""
        self.share = min(_MOST, max(_LEAST, _PER_BYTE * sum(path.stat().st_size for path in files)))
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opening = threading.Lock()
        self._users = self._last_used = 0
        self._is_leaving = False

    def _opened(self) -> duckdb.DuckDBPyConnection:
        """Open the database, with a memory limit of `share` bytes."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the database, with its last user if there are any; it is opened again when it is next used."""
        with _changed:
            self._is_leaving = True
            self._leave()

    @contextmanager
    def _in_use(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Return the database, open until the end of the block.

        Waits while others in use leave no room for it. One in which DuckDB fails is closed with its last user. A thread
        that used two at once could wait for itself.
        """
        with _changed:
            _changed.wait_for(self._has_room)
            _open.add(self)
            self._users += 1
            self._last_used = next(_uses)
        try:
            with self._opening:
                if self._connection is None:
                    self._connection = self._opened()
            yield self._connection
        except FAILED:
            self._is_leaving = True
            raise
        finally:
            with _changed:
                self._users -= 1
                self._leave()

    def _has_room(self) -> bool:
        """Return whether this one is open or may be, after closing others that are not in use."""
        if self._is_leaving or self in _open:
            return not self._is_leaving
        taken = sum(each.share for each in _open)
        idle = sorted((each for each in _open if not each._users), key=lambda each: each._last_used)
        while idle and taken + self.share > TOTAL:
            taken -= idle[0].share
            idle.pop(0).close()
        return taken + self.share <= TOTAL

    def _leave(self) -> None:
        """Close the database if it is to be closed, or could not be opened, and nobody uses it."""
        if self._users == 0 and (self._is_leaving or self._connection is None):
            if self._connection is not None:
                self._connection.close()
            self._connection, self._is_leaving = None, False
            _open.discard(self)
        _changed.notify_all()
