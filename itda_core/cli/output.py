"""Print to a terminal that may be closed, full, of another encoding, or missing."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from itda_core.common.errors import PlaceError


@contextmanager
def printing() -> Iterator[None]:
    """Print what the body prints at its end, so that an error of stdout is never taken for one of the work.

    Raises:
        BrokenPipeError: nobody reads it any more.
        PlaceError: it cannot be written where it was sent.
    """
    if sys.stderr is None:  # it was closed, and progress is written to it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        _print(printed.getvalue())


def say(line: str) -> None:
    """Print a line to stderr."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # there is nowhere left to say it
        _give_up(sys.stderr)


def _print(text: str) -> None:
    stream = sys.stdout
    if stream is None or not text:
        return
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        _give_up(stream)
        if isinstance(error, BrokenPipeError):
            raise
        raise PlaceError(f"what was found cannot be printed: {error.strerror or error}") from error


def _give_up(stream: TextIO) -> None:
    """Lead a stream nowhere, or the interpreter would try again to write what is left in it when it ends."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), stream.fileno())
