"""A sparse autoencoder as a coder, so that it is measured as dictionaries are.

This module does not import SAELens itself; it uses the SAE passed to it.

An SAE reconstructs an activation as b_dec + Σ f_i · W_dec,i, with f_i > 0 (the paper's Eq. 1 and 2). Its codes are
the f_i returned by SAELens' `encode`, before any rescaling by decoder norms; `decode` is SAELens' own, so it adds the
bias and inverts the SAE's input normalisation.
"""

from typing import Any

import numpy as np
import torch

from itda_core.common.types import Codes

_ROWS = 1_024
"""Activations that are dense at once; the same blocks in both directions, so that products round equally."""
_SCALES = ("x_norm_coeff", "ln_mu", "ln_std")
"""Per-activation scales that SAELens stores when it encodes, for an SAE that normalises each activation, to undo it
when it decodes."""


class SaeCoder:
    """SAELens SAE as a `Coder`.

    If it normalises every activation separately, it can only decode what it encoded last.
    """

    def __init__(self, sae: Any) -> None:
        """Wrap an SAE and set it to evaluation mode.

        Args:
            sae: a `sae_lens.SAE`, its input scaling folded into the weights where possible.
        """
        self._sae = sae.eval()
        self._scales: list[dict[str, torch.Tensor]] = []
        self._encoded: int | None = None

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self._sae.cfg.d_sae

    @property
    def sae(self) -> Any:
        """Wrapped SAE."""
        return self._sae

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> Codes:
        """Return the sparse codes of x [n, d_model].

        Raises ValueError for a wrong activation dimension or a value that is not finite.
        """
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
        """Return reconstructions [n, d_model] float32.

        They include b_dec, so a row without codes is b_dec.

        Raises ValueError if each activation has its own scale and n is not the number of activations encoded last.
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
