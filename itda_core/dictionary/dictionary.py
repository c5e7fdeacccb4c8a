"""A dictionary of activations: encode, decode, crop, save and load."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from itda_core.common.arguments import count, sources_array, whole_numbers
from itda_core.common.errors import DamagedError
from itda_core.common.files import read_json, sha256_of, write_sealed, written_whole
from itda_core.common.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.common.settings import METHODS, DictionarySettings
from itda_core.common.types import Codes, GrowthPoint
from itda_core.common.validate import parse
from itda_core.dictionary.mean import centered, checked_mean
from itda_core.library.manifest import FORMAT, check_manifest
from itda_core.pursuit import protocol
from itda_core.pursuit.refit import refit
from itda_core.pursuit.tensors import activations_tensor, real_tensor

OFF_UNIT = 1e-4
"""Tolerance of an atom's unit norm: float32 rounding by any tool."""


class Dictionary:
    """The atoms of one site, in order of admission, or of mass if pruned.

    A recipe may prune the atoms by their mass. An atom's mass is the sum of its absolute coefficients.

    With `settings.center` "mean" the atoms are directions of activation − mean: activations are encoded after
    subtraction of the mean, and reconstructions include it.

    Attributes:
        atoms: [n_atoms, d_model] float32, unit norm.
        sources: [n_atoms, 2] int64, document and position of each.
        admission_errors: [n_atoms] float64, the error that admitted each in the build's unit; NaN for atoms that no
            error admitted: those of the frequent start, and those that a recipe took from its sample.
        mean: [d_model] float32, subtracted before encoding; zeros without centring.
        settings: settings of the build, and the default L0 of `encode`.
        history: per batch: rows seen, atoms, mean error before admission.
    """

    def __init__(
        self,
        atoms: Any,
        sources: Any,
        settings: DictionarySettings,
        admission_errors: Any = None,
        history: list[GrowthPoint] | None = None,
        mean: Any = None,
    ) -> None:
        """Create a dictionary from atoms and their metadata.

        Args:
            atoms: [n_atoms, d_model], a tensor, an array or lists; scaled to unit norm if necessary.
            sources: [n_atoms, 2] integers; below 0 if unknown.
            settings: settings of the build.
            admission_errors: [n_atoms]; NaN by default.
            history: growth per batch; none by default.
            mean: [d_model], of settings with centring; zeros by default.

        Raises ValueError for wrong shapes, for an atom that is zero or not finite, for a mean that is not finite, and
        for a mean where the settings have no centring, or none where they have it.
        """
        self.atoms = _unit(real_tensor(atoms, "atoms"))
        self.sources = torch.from_numpy(sources_array(sources, "sources")).contiguous()
        self.settings = settings
        if admission_errors is None:
            admission_errors = torch.full((len(self),), torch.nan, dtype=torch.float64)
        self.admission_errors = real_tensor(admission_errors, "admission_errors")
        if self.sources.shape != (len(self), 2) or self.admission_errors.shape != (len(self),):
            raise ValueError(
                f"atoms are [n_atoms, d_model], sources [n_atoms, 2] and admission errors [n_atoms]; got "
                f"{list(self.atoms.shape)}, {list(self.sources.shape)} and {list(self.admission_errors.shape)}"
            )
        checked = checked_mean(mean, settings, self.d_model)
        self.mean = torch.zeros(self.d_model) if checked is None else checked
        self.history = history or []
        self._pursuers: dict[tuple[torch.device, str], protocol.PursuitBackend] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pursuers": {}}  # created again when needed

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def d_model(self) -> int:
        """Width of the activations."""
        return self.atoms.shape[1]

    @property
    def is_centered(self) -> bool:
        """Whether a mean is subtracted before encoding."""
        return self.settings.center == "mean"

    def encode(self, x: Any, l0: int | None = None, method: str | None = None) -> Codes:
        """Return the sparse codes of x [n, d_model], computed on the device of x.

        Args:
            x: activations, a tensor, an array or lists of real numbers.
            l0: pursuit steps; the settings' by default.
            method: one of `settings.METHODS`; the settings' by default.

        Raises ValueError for a wrong width, values that are not real and finite, an L0 that is not an integer of at
        least 1, or an unknown method.
        """
        steps = self.settings.l0 if l0 is None else count(l0, "l0")
        method = self.settings.method if method is None else method
        if method not in METHODS:
            raise ValueError(f"method is {method!r}: choose one of {', '.join(METHODS)}")
        x = activations_tensor(x, self.d_model)
        if self.is_centered:
            x = centered(x, self.mean)
        is_refitted = method == "refitted"  # pursued by plain matching: one Gram matrix serves both
        codes = protocol.encode(self._pursuer(x.device, "matching" if is_refitted else method), x, steps)
        return refit(codes, x, self.atoms) if is_refitted else codes

    def _pursuer(self, device: torch.device, method: str) -> protocol.PursuitBackend:
        if (device, method) not in self._pursuers:
            made = protocol.pursuit_backend(self.d_model, device, method)
            made.append(self.atoms.to(device))
            self._pursuers[device, method] = made
        return self._pursuers[device, method]

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Return reconstructions [n, d_model] of n activations from their codes.

        Args:
            codes: those of `encode`, or three arrays, tensors or lists of equal length: row, atom, coefficient.
            n: number of activations.

        Raises ValueError for codes that are no such arrays, or with row or atom indices out of range.
        """
        n = count(n, "n", 0)
        codes = _arrays_of(codes)
        for name, numbers, there in (("row", codes.row, n), ("atom", codes.atom, len(self))):
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < there:
                limit = f"n is {n}" if name == "row" else f"the dictionary has {there} atoms"
                raise ValueError(f"codes are of {name} {numbers.min()} to {numbers.max()} where {limit}")
        index = torch.from_numpy(np.stack([codes.row, codes.atom]))
        weights = torch.sparse_coo_tensor(
            index, torch.from_numpy(codes.coefficient), (n, len(self.atoms)), check_invariants=True
        )
        found = torch.sparse.mm(weights, self.atoms)
        return found.add_(self.mean) if self.is_centered else found

    def crop(self, n_atoms: int) -> "Dictionary":
        """Return the first n_atoms atoms in order of admission as a dictionary."""
        if count(n_atoms, "n_atoms") > len(self):
            raise ValueError(f"n_atoms is {n_atoms}: the dictionary has {len(self)}")
        history = [growth for growth in self.history if growth.atoms <= n_atoms]
        return Dictionary(
            self.atoms[:n_atoms],
            self.sources[:n_atoms],
            self.settings,
            self.admission_errors[:n_atoms],
            history,
            self.mean if self.is_centered else None,
        )

    def save(self, folder: str | Path) -> None:
        """Write `atoms.safetensors` and `manifest.json` to a folder, created if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_atoms(folder)
        files = {ATOMS_FILE: sha256_of(folder / ATOMS_FILE)}
        write_sealed(folder / MANIFEST_FILE, {**self.describe(), "files": files})

    def write_atoms(self, folder: Path) -> None:
        """Write `atoms.safetensors`: atoms, sources, admission errors, and the mean if there is centring.

        The same dictionary gives the same bytes.
        """
        with written_whole(folder / ATOMS_FILE) as part:
            save_file(self.tensors(), part)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of `atoms.safetensors` by name."""
        tensors = {"atoms": self.atoms, "sources": self.sources, "admission_errors": self.admission_errors}
        return tensors | ({"mean": self.mean} if self.is_centered else {})

    def describe(self) -> dict[str, Any]:
        """Return the manifest entries of the dictionary itself: size, settings, growth."""
        return {
            "format": FORMAT if self.is_centered else 1,  # earlier versions read all others
            "n_atoms": len(self),
            "d_model": self.d_model,
            "settings": self.settings.described(),
            "history": [list(growth) for growth in self.history],
        }

    @classmethod
    def load(cls, folder: str | Path) -> "Dictionary":
        """Read a dictionary that `save`, or a build, wrote.

        Raises DamagedError with the cause, or NewerError.
        """
        folder = Path(folder)
        manifest = read_json(folder / MANIFEST_FILE)
        check_manifest(manifest, str(folder / MANIFEST_FILE))
        described = parse(_Described, manifest, str(folder / MANIFEST_FILE), "build the dictionary again")
        try:
            tensors = load_file(folder / ATOMS_FILE)
            found = cls(
                tensors["atoms"],
                tensors["sources"],
                described.settings,
                tensors["admission_errors"],
                list(described.history),
                tensors.get("mean"),
            )
            if not torch.equal(found.atoms, tensors["atoms"]):
                raise ValueError("its atoms are not of unit norm, as every dictionary writes them")
            return found
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedError(f"{folder / ATOMS_FILE} cannot be read: {error}") from error


@dataclass(frozen=True)
class _Described:
    """Manifest fields that a dictionary without its library needs."""

    settings: DictionarySettings
    """Settings of the build."""
    history: tuple[GrowthPoint, ...]
    """Growth per batch."""


def _arrays_of(codes: Any) -> Codes:
    """Return codes as arrays of the types that `encode` gives."""
    try:
        row, atom, coefficient = codes
    except (TypeError, ValueError) as error:
        raise ValueError(f"codes are three arrays, row, atom and coefficient: got {type(codes).__name__}") from error
    weights = real_tensor(coefficient, "codes.coefficient").to("cpu", torch.float32).numpy()
    found = Codes(whole_numbers(row, "codes.row"), whole_numbers(atom, "codes.atom"), weights)
    if any(each.shape != (len(found.row),) for each in found):
        raise ValueError(f"codes are three arrays of equal length: got {', '.join(str(list(e.shape)) for e in found)}")
    return found


def _unit(atoms: torch.Tensor) -> torch.Tensor:
    """Return atoms [n_atoms, d_model] as float32 of unit norm.

    Encoding and decoding then use the same vectors. Atoms that have unit norm within rounding keep their bits.

    Raises ValueError for another shape, and for an atom without a direction.
    """
    if atoms.ndim != 2:
        raise ValueError(f"atoms are [n_atoms, d_model], got {list(atoms.shape)}")
    norm = atoms.norm(dim=1, dtype=torch.float64)
    odd = ~torch.isfinite(norm) | (norm == 0)
    if odd.any():
        raise ValueError(f"atom {int(odd.int().argmax())} is zero or not finite: leave it out")
    off = (norm - 1).abs() > OFF_UNIT
    found = atoms.to(torch.float32, copy=bool(off.any())).contiguous()
    found[off] = (atoms[off].to(torch.float64) / norm[off, None]).to(torch.float32)
    return found
