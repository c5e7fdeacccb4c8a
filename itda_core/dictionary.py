"""A dictionary of activations: built greedily, used to encode and decode, cropped, saved and loaded."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from itda_core import pursuit
from itda_core.admission import Judge
from itda_core.config import METHODS, DictionarySettings
from itda_core.files import read_json, sha256_of, write_json
from itda_core.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.types import Codes, DamagedError, Growth, UserError


class Dictionary:
    """The atoms of one site, in order of admission.

    Attributes:
        atoms: [n_atoms, d_model] float32, unit norm.
        sources: [n_atoms, 2] int64, document and position of each.
        admission_errors: [n_atoms] float64, the error that admitted each in the build's unit; NaN for atoms taken by
            the frequent start, which no error admitted.
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
        _check_shape(x, self.d_model)
        return pursuit.encode(self._pursuer(x.device, method), x, steps)

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
        write_json(folder / MANIFEST_FILE, {**self.describe(), "files": {ATOMS_FILE: sha256_of(folder / ATOMS_FILE)}})

    def write_atoms(self, folder: Path) -> None:
        """Write `atoms.safetensors`: atoms, sources, errors at admission; the same dictionary gives the same bytes."""
        tensors = {"atoms": self.atoms, "sources": self.sources, "admission_errors": self.admission_errors}
        (folder / ATOMS_FILE).write_bytes(save(tensors))  # save_file would make it readable by its owner alone

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the dictionary itself: size, settings, growth."""
        return {
            "format": 1,
            "n_atoms": len(self),
            "d_model": self.d_model,
            "settings": asdict(self.settings),
            "history": [list(growth) for growth in self.history],
        }

    @classmethod
    def load(cls, folder: str | Path) -> "Dictionary":
        """Read a dictionary that `save`, or a build, wrote. Raises DamagedError with what is wrong."""
        folder = Path(folder)
        manifest = read_json(folder / MANIFEST_FILE)
        try:
            settings = DictionarySettings(**manifest["settings"])
            history = [Growth(int(rows), int(atoms), float(error)) for rows, atoms, error in manifest["history"]]
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise DamagedError(f"{folder / MANIFEST_FILE} is not a dictionary's manifest: {error}") from error
        try:
            tensors = load_file(folder / ATOMS_FILE)
            return cls(tensors["atoms"], tensors["sources"], settings, tensors["admission_errors"], history)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DamagedError(f"{folder / ATOMS_FILE} cannot be read: {error}") from error


class DictionaryBuilder:
    """Builds one dictionary from batches as they come. `add` each, then `finish`."""

    def __init__(self, settings: DictionarySettings) -> None:
        settings.check_scan()
        self.settings = settings
        self.history: list[Growth] = []
        self._grown: pursuit.Pursuer | None = None
        self._sources: list[np.ndarray] = []
        self._errors: list[np.ndarray] = []
        # The sequential scan judges a few rows together whatever the batches are, so rows wait here until they suffice.
        self._waiting: list[tuple[torch.Tensor, np.ndarray]] = []
        self._n_waiting = 0
        self._open: list[_Batch] = []
        self._rows = 0

    @property
    def n_atoms(self) -> int:
        """Atoms so far."""
        return 0 if self._grown is None else self._grown.n

    def add(self, activations: torch.Tensor, sources: torch.Tensor) -> None:
        """Take one batch: activations [n, d_model] and their sources [n, 2], document and position.

        The first batch's device is where the dictionary is built. Raises ValueError for a wrong shape or a value that
        is not finite; the builder is then as it was.
        """
        _check_shape(activations, None if self._grown is None else self._grown.atoms.shape[1])
        x = pursuit.finite(activations)
        labels = _checked_sources(sources, len(x))
        if len(x) == 0:
            return
        if self._grown is None:
            self._grown = pursuit.pursuer(x.shape[1], x.device, self.settings.method)
            self._judge = Judge(self.settings, self._grown)
        self._rows += len(x)
        if self.settings.scan == "batch":
            self._add_batch(x, labels)
            return
        self._open.append(_Batch(self._rows, len(x)))
        self._waiting.append((x.clone(), labels.copy()))  # the caller may fill its buffers anew
        self._n_waiting += len(x)
        if self._n_waiting >= self._grown.in_order:
            self._drain(self._grown, last=False)

    def finish(self) -> Dictionary:
        """The dictionary. Raises UserError when no activation came."""
        if self._grown is None or self._rows == 0:
            raise UserError("no activations came: nothing to build a dictionary from")
        self._drain(self._grown, last=True)
        return Dictionary(
            self._grown.atoms.cpu().clone(),
            torch.from_numpy(np.concatenate([np.zeros((0, 2), np.int64), *self._sources])),
            self.settings,
            torch.from_numpy(np.concatenate([np.zeros(0), *self._errors])),
            self.history,
        )

    def _add_batch(self, x: torch.Tensor, labels: np.ndarray) -> None:
        if self.settings.init == "frequent":
            taken = self._judge.start_frequent(x)
            self._sources.append(labels[taken])
            self._errors.append(np.full(len(taken), np.nan))
        errors, admitted = self._judge.judge_batch(x)
        self._sources.append(labels[admitted])
        self._errors.append(errors[admitted])
        self.history.append(Growth(self._rows, self.n_atoms, float(errors.mean())))

    def _drain(self, grown: pursuit.Pursuer, last: bool) -> None:
        if not self._waiting:
            return
        x = torch.cat([batch for batch, _ in self._waiting])
        labels = np.concatenate([batch for _, batch in self._waiting])
        full = len(x) if last else len(x) // grown.in_order * grown.in_order
        for start in range(0, full, grown.in_order):
            end = min(start + grown.in_order, full)
            before = self.n_atoms
            errors, admitted = self._judge.judge_sequential(x[start:end])
            self._sources.append(labels[start + admitted])
            self._errors.append(errors[admitted])
            self._close_batches(errors, admitted, before)
        self._waiting = [(x[full:], labels[full:])] if full < len(x) else []
        self._n_waiting = len(x) - full

    def _close_batches(self, errors: np.ndarray, admitted: np.ndarray, before: int) -> None:
        """Share one block's errors and admissions out to the batches that its rows came in."""
        at = 0
        while self._open and at < len(errors):
            batch = self._open[0]
            end = min(len(errors), at + batch.missing)
            batch.error += float(errors[at:end].sum())
            batch.missing -= end - at
            at = end
            if batch.missing == 0:
                atoms = before + int((admitted < at).sum())
                self.history.append(Growth(batch.rows, atoms, batch.error / batch.size))
                self._open.pop(0)


class _Batch:
    """A batch whose rows are not all judged yet."""

    def __init__(self, rows: int, size: int) -> None:
        self.rows, self.size, self.missing, self.error = rows, size, size, 0.0


def build_dictionary(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    l0: int = 40,
    threshold: float = 0.3,
    error: str = "relative",
    scan: str = "sequential",
    init: str = "empty",
    max_atoms: int | None = None,
    method: str = "matching",
) -> Dictionary:
    """Build a dictionary greedily from activations (the paper's Algorithm 1).

    Args:
        batches: pairs of activations [n, d_model] float and sources [n, 2] int: document, position.
        l0: pursuit steps for one activation.
        threshold: the error above which an activation is admitted.
        error: its unit: "relative", "squared" or "cosine"; see `DictionarySettings`.
        scan: "sequential" gives the same dictionary whatever the batch size; "batch" is the published behaviour.
        init: "empty", or "frequent", the published start, which needs scan="batch".
        max_atoms: admission stops here.
        method: how activations are pursued; see `DictionarySettings`.

    Raises:
        ValueError: init="frequent" with a sequential scan; activations of a wrong shape or not finite.
        UserError: a setting out of range, or no activations at all.
    """
    builder = DictionaryBuilder(DictionarySettings(l0, threshold, error, scan, init, max_atoms, method))
    for activations, sources in batches:
        builder.add(activations, sources)
    return builder.finish()


def _check_shape(x: torch.Tensor, d_model: int | None) -> None:
    if x.ndim != 2 or (d_model is not None and x.shape[1] != d_model):
        raise ValueError(f"activations are [n, {d_model or 'd_model'}], got {list(x.shape)}")


def _checked_sources(sources: torch.Tensor, n: int) -> np.ndarray:
    if tuple(sources.shape) != (n, 2):
        raise ValueError(f"sources are [n, 2], document and position: got {list(sources.shape)} for {n} activations")
    return sources.detach().to("cpu", torch.int64).numpy()
