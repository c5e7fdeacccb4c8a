"""Matching pursuit in torch, for GPUs."""

import numpy as np
import torch

from itda_core.pursuit import arrays, rounding

GRAM_SHARE = 0.3
"""Maximum share of a CUDA device's free memory for a Gram matrix; a larger dictionary is pursued without one."""
TILE_VALUES = 1 << 28
"""Maximum number of correlations in memory at a time."""
_FIRST_CAPACITY = 1024
_UNIT = 1e-6  # tolerance of a unit norm, as float32 sums it
RESOLVED = 2**-21  # as in `kernels`: a coefficient below this share of |x| is rounding error


class TorchResult:
    """Result of pursuing a block of rows, as a `PursuitResult`."""

    def __init__(
        self,
        x: torch.Tensor,
        residual: torch.Tensor,
        steps: torch.Tensor,
        picks: torch.Tensor,
        coefficients: torch.Tensor,
    ) -> None:
        self._x, self._residual = x, residual
        self._steps, self._picks, self._coefficients = steps, picks, coefficients

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return rows, residuals, steps, picks and coefficients, on the device."""
        return self._x, self._residual, self._steps, self._picks, self._coefficients

    def errors(self, kind: int) -> np.ndarray:
        """Return [rows] float64 errors, computed on the CPU: not every device has float64."""
        out = np.empty(len(self._x))
        with arrays.lock:
            rounding.errors(self._x.cpu().numpy(), self._residual.cpu().numpy(), self._x.shape[1], kind, out)
        return out

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return steps [rows], picks [rows, k] and coefficients [rows, k]."""
        return self._steps.cpu().numpy(), self._picks.cpu().numpy(), self._coefficients.cpu().numpy()


class TorchBackend:
    """Matching pursuit over atoms on a device, as a `PursuitBackend`.

    The correlations of a step come from a float32 Gram matrix if it fits in memory, else from a product with all atoms;
    the coefficient itself is always computed from the residual.
    """

    in_order = 256

    def __init__(self, d_model: int, device: torch.device, signed: bool = True) -> None:
        self.n = 0
        self._device, self._signed = device, signed
        self._atoms = torch.empty(_FIRST_CAPACITY, d_model, device=device)
        self._gram: torch.Tensor | None = None  # has the capacity of _atoms,
        self._in_gram = 0  # of which this many atoms are filled in

    @property
    def atoms(self) -> torch.Tensor:
        """[n, d_model] on the device, a view."""
        return self._atoms[: self.n]

    @property
    def block(self) -> int:
        """Number of rows whose correlations fit in `TILE_VALUES`."""
        return max(1, min(1 << 14, TILE_VALUES // max(1, self.n)))

    def append(self, rows: torch.Tensor) -> None:
        """Append rows [m, d_model], scaled to unit norm."""
        end = self.n + len(rows)
        if end > len(self._atoms):
            larger = torch.empty(max(end, len(self._atoms) * 3 // 2), self._atoms.shape[1], device=self._device)
            larger[: self.n] = self.atoms
            self._atoms = larger
        scaled = torch.nn.functional.normalize(rows / _largest(rows), dim=1)
        # Rows that already have unit norm keep their bits, as in `kernels`.
        self._atoms[self.n : end] = torch.where((norm(rows) - 1).abs()[:, None] < _UNIT, rows, scaled)
        self.n = end

    def pursue(self, x: torch.Tensor, k: int) -> TorchResult:
        """Pursue rows x [rows, d_model] for at most k steps."""
        x = x.to(self._device)
        residual = x.clone()
        steps = torch.zeros(len(x), dtype=torch.int64, device=self._device)
        picks = torch.zeros(len(x), k, dtype=torch.int64, device=self._device)
        coefficients = torch.zeros(len(x), k, device=self._device)
        if self.n == 0:
            return TorchResult(x, residual, steps, picks, coefficients)
        atoms, gram = self.atoms, self._gram_matrix()
        resolved = RESOLVED * norm(x)
        going = torch.ones(len(x), dtype=torch.bool, device=self._device)
        correlation = x @ atoms.T
        for step in range(k):
            if step and gram is None:
                correlation = residual @ atoms.T
            picked = (correlation.abs() if self._signed else correlation).argmax(1)
            chosen = atoms[picked]
            c = (residual * chosen).sum(1)
            going &= (c.abs() if self._signed else c) > resolved
            c = torch.where(going, c, 0.0)
            picks[:, step], coefficients[:, step] = picked, c
            steps += going
            residual -= c[:, None] * chosen
            if gram is not None and step + 1 < k:
                correlation -= c[:, None] * gram[picked]
        return TorchResult(x, residual, steps, picks, coefficients)

    def admit_in_order(
        self, x: torch.Tensor, k: int, kind: int, threshold: float, room: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Judge rows sequentially.

        After an admission, all following rows are pursued again at once.
        """
        errors = np.empty(len(x))
        admitted: list[int] = []
        at = 0
        while at < len(x):
            errors[at:] = self.pursue(x[at:], k).errors(kind)
            over = np.flatnonzero(errors[at:] > threshold)
            if len(over) == 0 or len(admitted) >= room:
                break
            at += int(over[0]) + 1
            admitted.append(at - 1)
            self.append(x[at - 1 : at].to(self._device))
        return errors, np.array(admitted, np.int64)

    def _gram_matrix(self) -> torch.Tensor | None:
        """Return the Gram matrix, extended by new atoms, or None if it does not fit."""
        capacity = len(self._atoms)
        if self._gram is None or len(self._gram) < capacity:
            self._gram, self._in_gram = None, 0  # freed before a larger one is allocated
            if capacity * capacity * 4 > _gram_room(self._device):
                return None
            self._gram = torch.empty(capacity, capacity, device=self._device)
        if self._in_gram < self.n:
            new = slice(self._in_gram, self.n)
            products = self._atoms[new] @ self.atoms.T
            self._gram[new, : self.n] = products
            self._gram[: self.n, new] = products.T
            self._in_gram = self.n
        return self._gram[: self.n, : self.n]


def joined(paths: list[TorchResult]) -> TorchResult:
    """Concatenate the results of blocks of rows."""
    return TorchResult(*(torch.cat(parts) for parts in zip(*(path.tensors() for path in paths), strict=True)))


def _largest(x: torch.Tensor) -> torch.Tensor:
    """Return [rows, 1] maximum absolute values.

    Divided by them, rows have squares that fit float32 at any scale.
    """
    return x.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def norm(x: torch.Tensor) -> torch.Tensor:
    """Return the norms of rows [rows, d] without overflow."""
    largest = _largest(x)
    return torch.linalg.vector_norm(x / largest, dim=1) * largest[:, 0]


def _gram_room(device: torch.device) -> int:
    """Return the bytes available for a Gram matrix."""
    if device.type == "cuda":
        return int(GRAM_SHARE * torch.cuda.mem_get_info(device)[0])
    return 4 << 30
