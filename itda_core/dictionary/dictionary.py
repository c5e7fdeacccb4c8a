"""A dictionary of activations: encodes and decodes; is cropped, saved and loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from itda_core.common.arguments import count, sources_array
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import read_json, sha256_of, write_sealed, written_whole
from itda_core.common.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.common.settings import METHODS, DictionarySettings
from itda_core.common.types import Codes, GrowthPoint
from itda_core.library.manifest import FORMAT, check_manifest, parse_growth
from itda_core.pursuit import protocol
from itda_core.pursuit.refit import refit
from itda_core.pursuit.tensors import activations_tensor, real_tensor

OFF_UNIT = 1e-4
"""That the norm of an atom may be off by: rounding in float32, by whatever tool."""


class Dictionary:
    """The atoms of one site, in order of admission, or of what they carry where a recipe pruned them.

    Attributes:
        atoms: [n_atoms, d_model] float32, unit norm.
        sources: [n_atoms, 2] int64, document and position of each.
        admission_errors: [n_atoms] float64, the error that admitted each in the build's unit; NaN for atoms that no
            error admitted: those of the frequent start, and those that a recipe took from its sample.
        settings: how it was built, and the L0 that it encodes with.
        history: per batch: rows seen, atoms, mean error before admission.
    """

    def __init__(
        self,
        atoms: Any,
        sources: Any,
        settings: DictionarySettings,
        admission_errors: Any = None,
        history: list[GrowthPoint] | None = None,
    ) -> None:
        """Take atoms, and what is known of each.

        Args:
            atoms: [n_atoms, d_model], a tensor, an array or lists; scaled to unit norm unless they have it.
            sources: [n_atoms, 2] whole numbers; below 0 where none is known.
            settings: how it was built.
            admission_errors: [n_atoms]; NaN unless given.
            history: none unless given.

        Raises ValueError for wrong shapes, and for an atom that is zero or not finite.
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
        self.history = history or []
        self._pursuers: dict[tuple[torch.device, str], protocol.PursuitBackend] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pursuers": {}}  # made again where they are wanted

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def d_model(self) -> int:
        """Width of the activations."""
        return self.atoms.shape[1]

    def encode(self, x: Any, l0: int | None = None, method: str | None = None) -> Codes:
        """Sparse codes of x [n, d_model], on the device where x is.

        Args:
            x: activations, a tensor, an array or lists of real numbers.
            l0: pursuit steps; the settings' unless given.
            method: one of `config.METHODS`; the settings' unless given.

        Raises ValueError for a wrong width, values that are not real and finite, an L0 that is no whole number of 1 or
        more, or an unknown method.
        """
        steps = self.settings.l0 if l0 is None else count(l0, "l0")
        method = self.settings.method if method is None else method
        if method not in METHODS:
            raise ValueError(f"method is {method!r}: choose one of {', '.join(METHODS)}")
        x = activations_tensor(x, self.d_model)
        is_refitted = method == "refitted"  # pursued as ever: one Gram matrix serves both
        codes = protocol.encode(self._pursuer(x.device, "matching" if is_refitted else method), x, steps)
        return refit(codes, x, self.atoms) if is_refitted else codes

    def _pursuer(self, device: torch.device, method: str) -> protocol.PursuitBackend:
        if (device, method) not in self._pursuers:
            made = protocol.pursuit_backend(self.d_model, device, method)
            made.append(self.atoms.to(device))
            self._pursuers[device, method] = made
        return self._pursuers[device, method]

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Reconstructions [n, d_model] of n activations from their codes.

        Raises ValueError for codes of other activations or atoms than there are.
        """
        n = count(n, "n", 0)
        for name, numbers, there in (("row", codes.row, n), ("atom", codes.atom, len(self))):
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < there:
                what = f"n is {n}" if name == "row" else f"the dictionary has {there} atoms"
                raise ValueError(f"codes are of {name} {numbers.min()} to {numbers.max()} where {what}")
        index = torch.from_numpy(np.stack([codes.row, codes.atom]))
        weights = torch.sparse_coo_tensor(
            index, torch.from_numpy(codes.coefficient), (n, len(self.atoms)), check_invariants=True
        )
        return torch.sparse.mm(weights, self.atoms)

    def crop(self, n_atoms: int) -> "Dictionary":
        """The first n_atoms atoms in order of admission, as a dictionary of their own."""
        if count(n_atoms, "n_atoms") > len(self):
            raise ValueError(f"n_atoms is {n_atoms}: the dictionary has {len(self)}")
        history = [growth for growth in self.history if growth.atoms <= n_atoms]
        return Dictionary(
            self.atoms[:n_atoms],
            self.sources[:n_atoms],
            self.settings,
            self.admission_errors[:n_atoms],
            history,
        )

    def save(self, folder: str | Path) -> None:
        """Write `atoms.safetensors` and `manifest.json` into a folder, made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_atoms(folder)
        files = {ATOMS_FILE: sha256_of(folder / ATOMS_FILE)}
        write_sealed(folder / MANIFEST_FILE, {**self.describe(), "files": files})

    def write_atoms(self, folder: Path) -> None:
        """Write `atoms.safetensors`: atoms, sources, errors at admission; the same dictionary gives the same bytes."""
        tensors = {"atoms": self.atoms, "sources": self.sources, "admission_errors": self.admission_errors}
        with written_whole(folder / ATOMS_FILE) as part:
            save_file(tensors, part)

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the dictionary itself: size, settings, growth."""
        return {
            "format": FORMAT,
            "n_atoms": len(self),
            "d_model": self.d_model,
            "settings": self.settings.described(),
            "history": [list(growth) for growth in self.history],
        }

    @classmethod
    def load(cls, folder: str | Path) -> "Dictionary":
        """Read a dictionary that `save`, or a build, wrote. Raises DamagedError with what is wrong, or NewerError."""
        folder = Path(folder)
        manifest = read_json(folder / MANIFEST_FILE)
        check_manifest(manifest, str(folder / MANIFEST_FILE))
        try:
            settings = DictionarySettings(**manifest["settings"])
            history = parse_growth(manifest["history"])
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise DamagedError(f"{folder / MANIFEST_FILE} is not a dictionary's manifest: {error}") from error
        try:
            tensors = load_file(folder / ATOMS_FILE)
            found = cls(tensors["atoms"], tensors["sources"], settings, tensors["admission_errors"], history)
            if not torch.equal(found.atoms, tensors["atoms"]):
                raise ValueError("its atoms are not of unit norm, as every dictionary writes them")
            return found
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedError(f"{folder / ATOMS_FILE} cannot be read: {error}") from error


def _unit(atoms: torch.Tensor) -> torch.Tensor:
    """Atoms [n_atoms, d_model] as float32 of unit norm, so that what encodes with them and what decodes are the same.

    Those that have unit norm but for rounding stay the same bits.

    Raises ValueError for another shape, and for an atom that has no direction.
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
