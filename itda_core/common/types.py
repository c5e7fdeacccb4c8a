"""Shared value types: sites, documents, sparse codes, growth points."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from itda_core.common.errors import UserError

if TYPE_CHECKING:
    import numpy as np


HOOKS = ("resid", "mlp", "attn")


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


class GrowthPoint(NamedTuple):
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
