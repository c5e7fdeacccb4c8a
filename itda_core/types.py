"""The words of the project as types. Nothing here imports torch, so that pages and `itda list` stay quick."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

HOOKS = ("resid", "mlp", "attn")


def one_line(text: str) -> str:
    """A stranger's text as one line with nothing in it that a terminal would obey."""
    return " ".join(text.split()).encode("unicode_escape").decode() if not text.isprintable() else text


def has_half_characters(text: str) -> bool:
    """Whether a text holds half of a character, which cannot be encoded: a lone surrogate."""
    return any("\ud800" <= character <= "\udfff" for character in text)


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


class Document(NamedTuple):
    """One text of a corpus."""

    name: str
    """Where it came from, for people: `numpy.linalg.svd`, `notes.txt`, `line 12`."""
    text: str
    """The text, whole and unchanged."""


class Codes(NamedTuple):
    """Sparse codes of n activations as locations and values: three arrays of equal length, in order of rows.

    Within a row an atom appears once, its coefficients summed; a coefficient is never zero.
    """

    row: "np.ndarray"
    """[n_codes] int64: which activation."""
    atom: "np.ndarray"
    """[n_codes] int64: which atom."""
    coefficient: "np.ndarray"
    """[n_codes] float32: signed weight of the unit-norm atom."""


class Growth(NamedTuple):
    """One batch of a build."""

    rows: int
    """Activations seen so far, this batch included."""
    atoms: int
    """Atoms after this batch."""
    mean_error: float
    """Mean error of the batch's activations before any of their own is admitted, in the build's unit."""


@dataclass(frozen=True, order=True)
class Site:
    """A place in a model: the output of a block (`resid`), or what its MLP or attention adds to the stream."""

    layer: int
    """Block index, from 0."""
    hook: str = "resid"
    """`resid`, `mlp` or `attn`."""

    def __post_init__(self) -> None:
        if self.hook not in HOOKS:
            raise UserError(f"no hook {self.hook!r}: choose one of {', '.join(HOOKS)}")
        if self.layer < 0:
            raise UserError(f"layer {self.layer} is below 0: layers count from 0")
