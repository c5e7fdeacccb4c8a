"""Atoms and metadata from another tool's files, validated.

All of the input is untrusted. Anything invalid is reported as a one-line error.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch

from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Site

UNKNOWN = (-1, -1)
"""Source of an atom without a known source, as in the published format."""
_OFF_UNIT = 1e-4  # tolerance for the norm of an atom in float32
_OFF_UNIT_HALF = 1e-2  # the same in half precision
_LARGEST = 2**31 - 1  # ordinal of a document or a token: an index stores them in 32 bits
LONGEST_CONTEXT = 10**7
"""Maximum number of tokens in a window."""
WIDEST, MOST_ATOMS = 10**6, 10**7
"""Maximum activation dimension and number of atoms of a dictionary."""


@dataclass(frozen=True)
class ExternalDictionary:
    """A dictionary in another tool's format."""

    atoms: torch.Tensor
    """[n_atoms, d_model] float32, unit norm."""
    sources: torch.Tensor
    """[n_atoms, 2] int64: ordinal of the text, and position of the token in it, both from 0, but negative for a
    special token if positions count the text's own tokens; (−1, −1) if unknown."""
    settings: DictionarySettings
    """Its dictionary-building settings, as far as they are recorded."""
    site: Site
    """Site in the model."""
    model: str
    """Name of its model as recorded."""
    corpus: str
    """Name of its corpus as recorded."""
    context: int
    """Maximum number of tokens in a window, including special tokens."""
    prefix: int | None = None
    """Number of special tokens before a text that the positions count; None if they count all that the tokenizer
    adds."""
    special: int | None = None
    """Number of special tokens that the tokenizer adds before a text, if known."""
    holdout: bool = False
    """Whether every tenth text was held out of building."""
    errors: torch.Tensor | None = None
    """[n_atoms] float64: error at each atom's admission, NaN if unknown; None if all are unknown."""
    mean: torch.Tensor | None = None
    """[d_model] float32, subtracted before encoding; None without centring."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """All plain values of the file's metadata, by name, to be written back on export."""


def checked_atoms(atoms: torch.Tensor, where: str) -> torch.Tensor:
    """Return atoms [n_atoms, d_model] as float32 of unit norm.

    Float32 values are returned unchanged.

    Args:
        atoms: the tensor in a file, of any floating type.
        where: the file's name.

    Raises UserError for any other shape or type, for values that are not finite, and for rows not of unit norm.
    """
    if atoms.ndim != 2 or not atoms.is_floating_point():
        raise UserError(f"{where} holds {_kind(atoms)} where atoms [n_atoms, d_model] of a floating type were expected")
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
    """Return sources as int64 [n_atoms, 2].

    Args:
        sources: the tensor in a file.
        n_atoms: number of atoms.
        where: the file's name.
        special: number of special tokens before a text; if positions count its own tokens, those of an atom from a
            special token run from −special to −1.

    Raises UserError for any other shape or type, or for numbers outside the valid range of a source.
    """
    if sources.shape != (n_atoms, 2) or sources.is_floating_point() or sources.dtype == torch.bool:
        raise UserError(f"{where} holds {_kind(sources)} where sources [{n_atoms}, 2] of whole numbers were expected")
    sources = sources.to(torch.int64).contiguous()
    is_unknown = (sources == torch.tensor(UNKNOWN)).all(dim=1)
    is_wrong = ~is_unknown & ((sources < torch.tensor([0, -special])) | (sources > _LARGEST)).any(dim=1)
    if is_wrong.any():
        row = int(is_wrong.nonzero()[0])
        raise UserError(f"{where} names {sources[row].tolist()} as the source of atom {row}: no token is there")
    return sources


def without_place(name: str) -> str:
    """Return the name of a model or a corpus without local paths.

    An absolute path is reduced to its last part, so that no local path is disclosed.
    """
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(name).is_absolute() or name.startswith("~"):
            return kind(name).name or "unnamed"
    return name


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
