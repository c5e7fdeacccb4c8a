"""Explain errors of the disk or the file system in one line with a remedy."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from itda_core.common.errors import PlaceError, UserError

_FULL = "the disk that holds {place} is full: free some space and run the same command again; what was done is kept"
_FORBIDDEN = "{place} may not be used by this user: change its permissions, or name another place"
_NO_FOLDER = "{place} is a file where a folder has to be: name another place"
_MANY_OPEN = "too many files are open: raise the limit with ulimit -n"
_MESSAGES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "the disk that holds {place} may only be read: name a place on another",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: "{place} is a folder where a file has to be: move it away",
    errno.ELOOP: "{place} is a loop of symbolic links: name a folder",
    errno.ENAMETOOLONG: "{place} is longer than a name can be: choose a shorter one",
    errno.EMFILE: _MANY_OPEN,
    errno.ENFILE: _MANY_OPEN,
    errno.EIO: "the disk that holds {place} fails: see the system's log",
}
"""Message by error number. Any other error is not a problem of the user's disk, but a fault of the program."""
_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Errors that libraries raise as exceptions of their own types, with the system's message in the text."""
_NO_ROOM_TO_SORT = "max_temp_directory_size"
"""Setting that DuckDB's error names if the disk has no room for data that does not fit in memory."""
_NO_CACHE = "cannot cache function"
"""Start of Numba's error if neither the package's folder nor one in the user's home is writable."""
_SHOWN = 200


def place_error(error: BaseException, place: Path | None = None) -> PlaceError | None:
    """Convert an error of a disk or a path to a one-line PlaceError; None for others.

    A full disk is recognised anywhere in the chain of causes, since any other explanation would be misleading.

    Args:
        error: the exception that was raised.
        place: the path in use; it is named unless the error names a path outside it.
    """
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_CACHE):
        return PlaceError("compiled code can be kept nowhere: set NUMBA_CACHE_DIR to a folder that can be written")
    cause: BaseException | None = error
    seen = set[int]()
    while cause is not None and id(cause) not in seen:  # an error may be its own cause
        seen.add(id(cause))
        number = _number(cause)
        if number in (errno.ENOSPC, errno.EDQUOT) or (cause is error and number in _MESSAGES):
            return PlaceError(_MESSAGES[number].format(place=_place(cause, place)))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


@contextmanager
def translated_disk_errors(place: Path | None = None) -> Iterator[None]:
    """Raise errors that `place_error` recognises as PlaceError, and all others unchanged."""
    try:
        yield
    except PlaceError:
        raise
    except Exception as error:
        known = place_error(error, place)
        if known is None:
            raise
        raise known from error


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Raise PlaceError with a remedy for every OSError in the body.

    The body must do nothing but write.
    """
    try:
        with translated_disk_errors(place):
            yield
    except OSError as error:
        raise PlaceError(f"{_shown(place)} cannot be written: {error.strerror or error}") from error


def _number(error: BaseException) -> int | None:
    """Return the system's error number that an error carries or mentions, or None."""
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, UserError):
        return None  # already explained; its cause may be recognised
    message = str(error)
    if _NO_ROOM_TO_SORT in message:
        return errno.ENOSPC
    return next((each for each in _IN_WORDS if os.strerror(each) in message or f"(os error {each})" in message), None)


def _place(error: BaseException, place: Path | None) -> str:
    named = getattr(error, "filename", None)
    if isinstance(named, str) and (place is None or not Path(named).is_relative_to(place)):
        place = Path(named)
    return "what is written" if place is None else _shown(place)


def _shown(place: Path) -> str:
    name = str(place)
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
