"""A dictionary of activations: encodes and decodes; is cropped, saved and loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from itda_core import pursuit
from itda_core.config import METHODS, DictionarySettings
from itda_core.files import read_json, sha256_of, write_sealed
from itda_core.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.library import FORMAT, check_manifest, parse_growth
from itda_core.refit import refit
from itda_core.types import Codes, DamagedError, Growth, UserError


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
        atoms: torch.Tensor,
        sources: torch.Tensor,
        settings: DictionarySettings,
        admission_errors: torch.Tensor | None = None,
        history: list[Growth] | None = None,
    ) -> None:
        if atoms.ndim != 2 or sources.shape != (len(atoms), 2):
            raise ValueError(
                f"atoms are [n_atoms, d_model] and sources [n_atoms, 2]; got {list(atoms.shape)} and "
                f"{list(sources.shape)}"
            )
        self.atoms = atoms.to(torch.float32).contiguous()
        self.sources = sources.to(torch.int64).contiguous()
        self.settings = settings
        if admission_errors is None:
            admission_errors = torch.full((len(atoms),), torch.nan, dtype=torch.float64)
        self.admission_errors = admission_errors
        self.history = history or []
        self._pursuers: dict[tuple[torch.device, str], pursuit.Pursuer] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pursuers": {}}  # made again where they are wanted

    def __len__(self) -> int:
        return len(self.atoms)

    @property
    def d_model(self) -> int:
        """Width of the activations."""
        return self.atoms.shape[1]

    def encode(self, x: torch.Tensor, l0: int | None = None, method: str | None = None) -> Codes:
        """Sparse codes of x [n, d_model], on the device where x is.

        Args:
            x: activations, float.
            l0: pursuit steps; the settings' unless given.
            method: one of `config.METHODS`; the settings' unless given.

        Raises ValueError for a wrong width, a value that is not finite, an L0 below 1, or an unknown method.
        """
        steps = self.settings.l0 if l0 is None else l0
        if steps < 1:
            raise ValueError(f"l0 is {steps}: it must be at least 1")
        method = self.settings.method if method is None else method
        if method not in METHODS:
            raise ValueError(f"method is {method!r}: choose one of {', '.join(METHODS)}")
        check_shape(x, self.d_model)
        is_refitted = method == "refitted"  # pursued as ever: one Gram matrix serves both
        codes = pursuit.encode(self._pursuer(x.device, "matching" if is_refitted else method), x, steps)
        return refit(codes, x, self.atoms) if is_refitted else codes

    def _pursuer(self, device: torch.device, method: str) -> pursuit.Pursuer:
        if (device, method) not in self._pursuers:
            made = pursuit.pursuer(self.d_model, device, method)
            made.append(self.atoms.to(device))
            self._pursuers[device, method] = made
        return self._pursuers[device, method]

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Reconstructions [n, d_model] of n activations from their codes."""
        index = torch.from_numpy(np.stack([codes.row, codes.atom]))
        weights = torch.sparse_coo_tensor(
            index, torch.from_numpy(codes.coefficient), (n, len(self.atoms)), check_invariants=True
        )
        return torch.sparse.mm(weights, self.atoms)

    def crop(self, n_atoms: int) -> "Dictionary":
        """The first n_atoms atoms in order of admission, as a dictionary of their own."""
        if not 1 <= n_atoms <= len(self):
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
        (folder / ATOMS_FILE).write_bytes(save(tensors))  # save_file would make it readable by its owner alone

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
            return cls(tensors["atoms"], tensors["sources"], settings, tensors["admission_errors"], history)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedError(f"{folder / ATOMS_FILE} cannot be read: {error}") from error


def check_shape(x: torch.Tensor, d_model: int | None) -> None:
    """Raises ValueError where activations are not [n, d_model]."""
    if x.ndim != 2 or (d_model is not None and x.shape[1] != d_model):
        raise ValueError(f"activations are [n, {d_model or 'd_model'}], got {list(x.shape)}")
