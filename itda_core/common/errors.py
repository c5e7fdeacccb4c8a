"""Errors and warnings that a reader sees as one line."""

import sys

from itda_core.common.text import has_half_characters, one_line


def check_argument(text: str) -> None:
    """Raises UserError for a text that can be neither a file's name nor in a file of text."""
    if "\0" in text or has_half_characters(text):
        raise UserError(
            f"{text[:80]!r} is not text in {sys.getfilesystemencoding()}: set LC_ALL=C.UTF-8, or rename what it names"
        )


class UserError(Exception):
    """A mistake that the user can mend; the message is one line that says what to do. The command line exits with 2."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class PlaceError(UserError):
    """A disk or a path that the system does not let be used: a full disk above all."""


class DamagedError(UserError):
    """A file of the library that is missing, cut short, or not what it says it is."""


class NewerError(UserError):
    """A file that a newer version of this program wrote: nothing is wrong with it, and it is not to be deleted."""


class EngineError(UserError):
    """The database engine failed within itself, over a file that may well be sound."""


class ChanceWarning(UserWarning):
    """A similarity that chance alone would make large: so few tokens were given."""


class MeanWarning(UserWarning):
    """Activations that are nearly the same vector, whose relative errors say little."""
