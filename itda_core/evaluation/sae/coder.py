"""A sparse autoencoder as a coder, so that it is measured as dictionaries are. Needs SAELens only for what it is given.

An SAE writes an activation as b_dec + Σ f_i · W_dec,i, with f_i > 0 (the paper's Eq. 1 and 2). Its codes are these f_i
as SAELens' `encode` gives them, before any rescaling by decoder norms; `decode` is SAELens' own, so it adds the bias
and undoes what the SAE does to its inputs.
"""

from typing import Any

import numpy as np
import torch

from itda_core.common.types import Codes

_ROWS = 1_024
"""Activations that are dense at once; the same blocks in both directions, so that products round alike."""
_SCALES = ("x_norm_coeff", "ln_mu", "ln_std")
"""What SAELens keeps of the activations that it encoded, where it scales each by itself, to undo it when it decodes."""


class SaeCoder:
    """An SAE of SAELens as a `Coder`. Where it scales every activation by itself, it decodes what it encoded last."""

    def __init__(self, sae: Any) -> None:
        """Wrap one, in evaluation mode from now on.

        Args:
            sae: a `sae_lens.SAE`, its input scaling folded into the weights where that can be.
        """
        self._sae = sae.eval()
        self._scales: list[dict[str, torch.Tensor]] = []
        self._encoded: int | None = None

    @property
    def latents(self) -> int:
        """Its width."""
        return self._sae.cfg.d_sae

    @property
    def sae(self) -> Any:
        """The SAE."""
        return self._sae

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> Codes:
        """Sparse codes of x [n, d_model]. Raises ValueError for a wrong width or a value that is not finite."""
        if x.ndim != 2 or x.shape[1] != self._sae.cfg.d_in:
            raise ValueError(f"activations are [n, {self._sae.cfg.d_in}], got {list(x.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError("an activation has a value that is not finite")
        parts, self._scales, self._encoded = [], [], len(x)
        for first in range(0, len(x), _ROWS):
            acts = self._sae.encode(x[first : first + _ROWS])
            self._scales.append({name: getattr(self._sae, name) for name in _SCALES if hasattr(self._sae, name)})
            row, latent = acts.nonzero(as_tuple=True)
            parts.append((row + first, latent, acts[row, latent]))
        row, latent, value = (torch.cat(part) for part in zip(*parts, strict=True)) if parts else (torch.empty(0),) * 3
        return Codes(
            row.cpu().numpy().astype(np.int64), latent.cpu().numpy().astype(np.int64), value.float().cpu().numpy()
        )

    @torch.no_grad()
    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        """Reconstructions [n, d_model] float32, b_dec included, so a row without codes is b_dec.

        Raises ValueError where each activation has a scale of its own and n activations are not what was encoded last.
        """
        if any(self._scales) and n != self._encoded:
            raise ValueError(f"{n} activations are to be decoded, {self._encoded} were encoded: encode them first")
        bounds = np.searchsorted(codes.row, np.arange(0, n + _ROWS, _ROWS))
        parts = []
        for block, first in enumerate(range(0, n, _ROWS)):
            here = slice(bounds[block], bounds[block + 1])
            acts = torch.zeros(min(_ROWS, n - first), self.latents, dtype=self._sae.dtype, device=self._sae.device)
            where = torch.from_numpy(codes.row[here] - first), torch.from_numpy(codes.atom[here])
            acts[where] = torch.from_numpy(codes.coefficient[here]).to(acts)
            for name, value in (self._scales[block] if any(self._scales) else {}).items():
                setattr(self._sae, name, value)
            parts.append(self._sae.decode(acts).float())
        return torch.cat(parts) if parts else torch.empty(0, self._sae.cfg.d_in)
