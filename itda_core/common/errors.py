"""Errors and warnings that are shown to the user as one line."""

import sys

from itda_core.common.text import has_half_characters, one_line


def check_argument(text: str) -> None:
    """Raise UserError for text that can be neither a file name nor file content."""
    if "\0" in text or has_half_characters(text):
        raise UserError(
            f"{text[:80]!r} is not text in {sys.getfilesystemencoding()}: set LC_ALL=C.UTF-8, or rename what it names"
        )


class UserError(Exception):
    """An error that the user can fix.

    The message is one line that states the remedy. The command line exits with status 2.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class PlaceError(UserError):
    """A disk or a path that the system does not allow to be used, such as a full disk."""


class DamagedError(UserError):
    """A library file that is missing, truncated, or inconsistent with its metadata."""


class NewerError(UserError):
    """A file that a newer version of this program wrote.

    The file is valid and must not be deleted.
    """


class EngineError(UserError):
    """An internal failure of the database engine; the file that it read may be valid."""


class ChanceWarning(UserWarning):
    """A similarity that chance alone would make large: of too few tokens, or of tokens with much in common."""


class MeanWarning(UserWarning):
    """Activations so nearly identical that relative errors are uninformative."""
