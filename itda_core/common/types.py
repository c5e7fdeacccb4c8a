"""Shared value types: sites, documents, sparse codes, growth points."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from itda_core.common.errors import UserError
from itda_core.common.validate import Count, Finite

if TYPE_CHECKING:
    import numpy as np


HOOKS = ("resid", "mlp", "attn")


class Document(NamedTuple):
    """One text of a corpus."""

    name: str
    """Human-readable origin: `numpy.linalg.svd`, `notes.txt`, `line 12`."""
    text: str
    """The complete, unchanged text."""


class Codes(NamedTuple):
    """Sparse codes of n activations in coordinate form, in order of rows.

    Three arrays of equal length: rows, atoms, coefficients. Within a row an atom occurs once, with its coefficients
    summed; no coefficient is zero.
    """

    row: "np.ndarray"
    """[n_codes] int64: index of the activation."""
    atom: "np.ndarray"
    """[n_codes] int64: index of the atom."""
    coefficient: "np.ndarray"
    """[n_codes] float32: signed weight of the unit-norm atom."""


class GrowthPoint(NamedTuple):
    """Size and error of a dictionary after one batch of a build."""

    rows: Count
    """Activations seen so far, this batch included."""
    atoms: Count
    """Atoms after this batch."""
    mean_error: Finite
    """Mean error of the batch's activations before any of them is admitted, in the build's unit."""


@dataclass(frozen=True, order=True)
class Site:
    """A site in a model: a block and a hook.

    `resid` is the output of the block; `mlp` and `attn` are what its MLP or attention adds to the residual stream.
    """

    layer: int
    """Block index, from 0."""
    hook: str = "resid"
    """`resid`, `mlp` or `attn`."""

    def __post_init__(self) -> None:
        if self.hook not in HOOKS:
            raise UserError(f"no hook {self.hook!r}: choose one of {', '.join(HOOKS)}")
        if self.layer < 0:
            raise UserError(f"layer {self.layer} is below 0: layers count from 0")
