"""Admission of activations as atoms (the paper's Algorithm 1)."""

import numpy as np
import torch

from itda_core.common.settings import DictionarySettings
from itda_core.pursuit.protocol import KINDS, PursuitBackend


class AdmissionRule:
    """Rule that admits rows to a growing dictionary, batch by batch."""

    def __init__(self, settings: DictionarySettings, grown: PursuitBackend) -> None:
        self._settings = settings
        self._grown = grown

    def _room(self) -> int:
        limit = self._settings.max_atoms
        return np.iinfo(np.int64).max if limit is None else max(0, limit - self._grown.n)

    def start_frequent(self, x: torch.Tensor) -> np.ndarray:
        """Apply the published start: admit the most frequent distinct rows.

        Only while there are fewer than d_model atoms. Returns the indices of the rows taken, in order of admission.
        """
        wanted = min(x.shape[1] - self._grown.n, self._room())
        if wanted <= 0:
            return np.zeros(0, np.int64)
        rows = x.cpu().numpy()
        _, first, counts = np.unique(_in_order(rows), return_index=True, return_counts=True)
        taken = first[np.argsort(-counts, kind="stable")[:wanted]]
        taken = taken[rows[taken].any(axis=1)]
        self._grown.append(x[torch.from_numpy(taken).to(x.device)])
        return taken

    def judge_batch(self, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Judge a batch [n, d_model] by the current dictionary, then admit rows.

        All rows over the threshold are admitted, up to the maximum number of atoms.

        Returns:
            errors [n] float64, and the indices of the rows admitted.
        """
        errors = np.empty(len(x))
        for start in range(0, len(x), self._grown.block):
            block = x[start : start + self._grown.block]
            errors[start : start + len(block)] = self._grown.pursue(block, self._settings.l0).errors(self._kind)
        admitted = np.flatnonzero(errors > self._settings.threshold)[: self._room()]
        self._grown.append(x[torch.from_numpy(admitted).to(x.device)])
        return errors, admitted

    def judge_sequential(self, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Judge rows one by one, each by a dictionary with the rows admitted before it.

        Returns:
            errors [rows] float64, and the indices of the rows admitted.
        """
        settings = self._settings
        return self._grown.admit_in_order(x, settings.l0, self._kind, settings.threshold, self._room())

    @property
    def _kind(self) -> int:
        return KINDS[self._settings.error]


def _in_order(rows: np.ndarray) -> np.ndarray:
    """Return [n] byte strings that sort as the rows [n, d] float32 do.

    numpy sorts them three times as fast.
    """
    bits = (rows + np.float32(0)).view(np.int32)  # -0 becomes 0
    ordered = bits ^ np.where(bits < 0, np.int32(-1), np.int32(-(2**31)))
    return ordered.astype(">i4").view(f"V{4 * rows.shape[1]}")[:, 0]
