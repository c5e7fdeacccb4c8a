"""Orthogonal matching pursuit."""

import torch

from itda_core.pursuit.torch_backend import RESOLVED, TILE_VALUES, TorchBackend, TorchResult, joined, norm


class OrthogonalBackend(TorchBackend):
    """Orthogonal matching pursuit (Pati, Rezaiifar and Krishnaprasad 1993).

    After every pick all coefficients are refitted by least squares, so the residual is orthogonal to every atom picked
    and none is picked twice. The span of the picks is kept as an orthonormal basis (Gram–Schmidt, twice).
    """

    in_order = 64

    def __init__(self, d_model: int, device: torch.device) -> None:
        super().__init__(d_model, device)

    @property
    def block(self) -> int:
        """Rows per block; fewer than in matching pursuit, since each row has a basis."""
        return min(1024, super().block)

    def pursue(self, x: torch.Tensor, k: int) -> TorchResult:
        """Pursue rows x [rows, d_model] for at most k steps."""
        x = x.to(self._device)
        k_most = min(k, self.n, x.shape[1])
        together = max(1, TILE_VALUES // max(1, k_most * x.shape[1]))
        if len(x) > together:
            return joined([self.pursue(part, k) for part in x.split(together)])
        residual = x.clone()
        steps = torch.zeros(len(x), dtype=torch.int64, device=self._device)
        picks = torch.zeros(len(x), k, dtype=torch.int64, device=self._device)
        basis = torch.zeros(len(x), k_most, x.shape[1], device=self._device)
        upper = torch.eye(k_most, device=self._device).repeat(len(x), 1, 1)  # picked atoms in basis coordinates
        along = torch.zeros(len(x), k_most, 1, device=self._device)  # x in basis coordinates
        resolved = RESOLVED * norm(x)
        going = torch.ones(len(x), dtype=torch.bool, device=self._device)
        for step in range(k_most):
            picked = (residual @ self.atoms.T).abs().argmax(1)
            chosen = self.atoms[picked]
            direction, inside = chosen, torch.zeros(len(x), step, 1, device=self._device)
            for _ in range(2):
                part = basis[:, :step] @ direction[:, :, None]
                direction = direction - (part.transpose(1, 2) @ basis[:, :step])[:, 0]
                inside = inside + part
            left = torch.linalg.vector_norm(direction, dim=1)
            going &= ((residual * chosen).sum(1).abs() > resolved) & (left > 1e-5)
            direction = torch.where(going[:, None], direction / left.clamp_min(1e-5)[:, None], 0.0)
            basis[:, step] = direction
            upper[:, :step, step] = torch.where(going[:, None], inside[:, :, 0], 0.0)
            upper[:, step, step] = torch.where(going, left, 1.0)
            along[:, step, 0] = (residual * direction).sum(1)
            residual -= along[:, step] * direction
            picks[:, step] = picked
            steps += going
        fitted = torch.linalg.solve_triangular(upper, along, upper=True)[:, :, 0]
        coefficients = torch.zeros(len(x), k, device=self._device)
        coefficients[:, :k_most] = fitted
        return TorchResult(x, residual, steps, picks, coefficients)
