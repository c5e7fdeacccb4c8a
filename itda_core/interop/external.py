"""What comes out of another tool's files: atoms and what is said of them, held against what a dictionary is.

All of it may be a stranger's. Whatever is not as it has to be is one line that says so.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch

from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Site

UNKNOWN = (-1, -1)
"""The published format's source of an atom of which none is known."""
_OFF_UNIT = 1e-4  # that the norm of an atom in float32 may be off by
_OFF_UNIT_HALF = 1e-2  # the same in half precision
_LARGEST = 2**31 - 1  # ordinal of a document, or of a token: an index holds them in 32 bits
LONGEST_CONTEXT = 10**7
"""The most tokens that a text is cut to."""
WIDEST, MOST_ATOMS = 10**6, 10**7
"""The widest activations and the most atoms that a dictionary has."""


@dataclass(frozen=True)
class ExternalDictionary:
    """A dictionary as another tool has it."""

    atoms: torch.Tensor
    """[n_atoms, d_model] float32, unit norm."""
    sources: torch.Tensor
    """[n_atoms, 2] int64: number of the text, and position of the token in it, both from 0, but below 0 for a special
    token where positions count the text's own; (−1, −1) where it is not known."""
    settings: DictionarySettings
    """How it was built, as far as that is said."""
    site: Site
    """Where in the model."""
    model: str
    """What its model is said to be."""
    corpus: str
    """What its texts are said to be."""
    context: int
    """Tokens that a text was cut to, special ones included."""
    prefix: int | None = None
    """Special tokens before a text that the positions count; None where they count all that the tokenizer puts."""
    special: int | None = None
    """Special tokens that the tokenizer puts before a text, where that is known."""
    holdout: bool = False
    """Whether every tenth text was kept out of building."""
    errors: torch.Tensor | None = None
    """[n_atoms] float64: the error that admitted each, NaN where none is known; None where none are."""
    said: dict[str, Any] = field(default_factory=dict)
    """All that the file said in plain values, by name, to be given back when it is written again."""


def checked_atoms(atoms: torch.Tensor, where: str) -> torch.Tensor:
    """[n_atoms, d_model] float32 of unit norm, the very values where they were that.

    Args:
        atoms: what a file holds, of any floating type.
        where: the file's name.

    Raises UserError for any other shape or type, for values that are not finite, and for rows not of unit norm.
    """
    if atoms.ndim != 2 or not atoms.is_floating_point():
        raise UserError(f"{where} holds {_told(atoms)} where atoms [n_atoms, d_model] of a floating type were expected")
    n, width = atoms.shape
    if not 0 < n <= MOST_ATOMS or not 0 < width <= WIDEST:
        raise UserError(f"{where} holds {n:,} atoms of width {width:,}: that is no dictionary")
    is_half = atoms.dtype in (torch.float16, torch.bfloat16)
    atoms = atoms.to(torch.float32).contiguous()
    if not torch.isfinite(atoms).all():
        row = int((~torch.isfinite(atoms).all(dim=1)).nonzero()[0])
        raise UserError(f"atom {row} in {where} has a value that is not finite: no activation has one")
    norm = atoms.norm(dim=1)
    off = (norm - 1).abs()
    if (off > (_OFF_UNIT_HALF if is_half else _OFF_UNIT)).any():
        row = int(off.argmax())
        raise UserError(f"atom {row} in {where} has norm {float(norm[row]):.6g} where atoms have 1: it is not of ITDA")
    return atoms / norm[:, None] if is_half else atoms


def checked_sources(sources: torch.Tensor, n_atoms: int, where: str, special: int = 0) -> torch.Tensor:
    """[n_atoms, 2] int64 sources.

    Args:
        sources: what a file holds.
        n_atoms: atoms that there are.
        where: the file's name.
        special: special tokens before a text; where positions count its own tokens, those of an atom that comes from
            one of these run from −special to −1.

    Raises UserError for any other shape or type, or for numbers that no source has.
    """
    if sources.shape != (n_atoms, 2) or sources.is_floating_point() or sources.dtype == torch.bool:
        raise UserError(f"{where} holds {_told(sources)} where sources [{n_atoms}, 2] of whole numbers were expected")
    sources = sources.to(torch.int64).contiguous()
    is_unknown = (sources == torch.tensor(UNKNOWN)).all(dim=1)
    is_wrong = ~is_unknown & ((sources < torch.tensor([0, -special])) | (sources > _LARGEST)).any(dim=1)
    if is_wrong.any():
        row = int(is_wrong.nonzero()[0])
        raise UserError(f"{where} names {sources[row].tolist()} as the source of atom {row}: no token is there")
    return sources


def without_place(name: str) -> str:
    """The name of a model or a corpus: of a path on some machine its last part, which gives nothing of it away."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(name).is_absolute() or name.startswith("~"):
            return kind(name).name or "unnamed"
    return name


def _told(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
