"""Mean of the activations that a dictionary is built from, and centring by it.

Language models add one large vector to the activations of all tokens: it can hold half of their energy and more, and a
dictionary without centring spends the first atoms of every token on it. Sparse autoencoders subtract it as `b_dec`.
"""

from collections.abc import Callable, Iterable, Iterator
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch

from itda_core.common.arguments import pairs, sources_array
from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.pursuit import protocol
from itda_core.pursuit.tensors import activations_tensor, real_tensor

_ROWS_AT_ONCE = 1_024  # whose running sums are in memory, in float64


class MeanSums:
    """Running mean of activations.

    Rows are added one after the other in float64, so that the mean is the same to the bit however the rows are cut into
    batches.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._sums: np.ndarray | None = None  # [d_model] float64

    def add(self, activations: Any) -> None:
        """Add activations [n, d_model].

        Raises ValueError for a wrong shape, or for values that are not real and finite.
        """
        width = None if self._sums is None else len(self._sums)
        x = protocol.finite(activations_tensor(activations, width)).cpu().numpy()
        sums = np.zeros(x.shape[1]) if self._sums is None else self._sums
        for first in range(0, len(x), _ROWS_AT_ONCE):
            rows = np.concatenate([sums[None], x[first : first + _ROWS_AT_ONCE]], dtype=np.float64)
            sums = np.add.accumulate(rows, axis=0)[-1]  # unlike a sum, always in the order of the rows
        self._sums, self._rows = sums, self._rows + len(x)

    def mean(self) -> torch.Tensor:
        """Return the mean [d_model] float32.

        Raises UserError without rows.
        """
        if self._sums is None or self._rows == 0:
            raise UserError("no activations came: nothing to take the mean of")
        return torch.from_numpy(self._sums / self._rows).float()


def checked_mean(mean: Any, settings: DictionarySettings, d_model: int | None = None) -> torch.Tensor | None:
    """Return a mean [d_model] as float32 on the CPU; None if there is no centring.

    Raises ValueError for a mean that is missing, not asked for, no vector of that width, or too large to subtract in
    float32.
    """
    if (mean is None) != (settings.center == "none"):
        raise ValueError(f"center is {settings.center!r}: {'it needs a mean' if mean is None else 'it has no mean'}")
    if mean is None:
        return None
    found = real_tensor(mean, "mean").to("cpu", torch.float32).contiguous()
    if found.ndim != 1 or not torch.isfinite(found.square().sum()):
        raise ValueError(f"mean is a vector [d_model] of finite length; got {list(found.shape)}")
    if d_model is not None and len(found) != d_model:
        raise ValueError(f"mean has {len(found)} dimensions, and the atoms {d_model}")
    return found


def centered(x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Return activations x [n, d_model] minus a mean [d_model], in float32.

    Raises ValueError for a value that is not finite.
    """
    return protocol.finite(x) - mean.to(x.device)


def repeatable(batches: Iterable[tuple[Any, Any]]) -> Callable[[], Iterator[tuple[Any, Any]]]:
    """Return a function that yields the batches from the start each time.

    Those of a generator are stored in a temporary file as they first pass, since it yields them only once. Any other
    iterable has to yield the same batches each time.
    """
    return _Recording(batches) if isinstance(batches, Iterator) else lambda: pairs(batches)


class _Recording:
    """Batches of an iterator, stored in a temporary file once they have passed."""

    def __init__(self, batches: Iterable[tuple[Any, Any]]) -> None:
        self._batches = iter(batches)
        self._file = TemporaryFile()  # noqa: SIM115 - closed, and so deleted, with this object
        self._stored: list[tuple[int, int, torch.device]] = []

    def __call__(self) -> Iterator[tuple[Any, Any]]:
        self._file.seek(0)
        for n, width, device in self._stored:
            x = np.fromfile(self._file, np.float32, n * width).reshape(n, width)
            yield torch.from_numpy(x).to(device), np.fromfile(self._file, np.int64, 2 * n).reshape(n, 2)
        for activations, sources in pairs(self._batches):
            x = protocol.finite(activations_tensor(activations))
            labels = sources_array(sources, "sources", len(x))
            x.cpu().contiguous().numpy().tofile(self._file)
            labels.tofile(self._file)
            self._stored.append((x.shape[0], x.shape[1], x.device))
            yield activations, labels
