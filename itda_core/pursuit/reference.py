"""Reference implementation of the paper's Algorithms 1 and 2.

It is the baseline of every speed ratio, and verifies the optimised backends. Dense codes, one product with the full
dictionary per pursuit step, every step for every row. It costs what the published code costs; use `pursuit.protocol`
and `dictionary.admission` in production.
"""

from collections.abc import Iterable

import torch

from itda_core.common.settings import ERRORS


def plain_pursuit(atoms: torch.Tensor, x: torch.Tensor, k: int) -> torch.Tensor:
    """Return dense codes [n, n_atoms] of activations x [n, d] after k pursuit steps.

    `atoms` are [n_atoms, d], unit norm. Both are float32 on the CPU, and there is at least one atom.
    """
    codes = torch.zeros(len(x), len(atoms))
    left = x.clone()
    for _ in range(k):
        products = left @ atoms.T
        pick = products.abs().argmax(dim=1)
        weight = products.gather(1, pick[:, None])
        codes.scatter_add_(1, pick[:, None], weight)
        left -= weight * atoms[pick]
    return codes


def plain_build(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]], l0: int, threshold: float, error: str = "relative"
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Build a dictionary as published.

    Frequent start, then each batch is judged by the dictionary as it was before the batch.

    Args:
        batches: pairs of activations [n, d] float32 and sources [n, 2] int.
        l0: pursuit steps for one activation.
        threshold: the error above which an activation becomes an atom.
        error: its unit: "relative", "squared" or "cosine"; see `DictionarySettings`.

    Returns:
        atoms [n_atoms, d] of unit norm and their sources [n_atoms, 2], in order of admission, and the mean error of
            each
        batch before its own rows were admitted.

    Raises:
        ValueError: an unknown unit, or no batches.
    """
    if error not in ERRORS:
        raise ValueError(f"error is {error!r}: choose one of {', '.join(ERRORS)}")
    atoms, sources = torch.empty(0, 0), torch.empty(0, 2, dtype=torch.int64)
    mean_errors: list[float] = []
    for x, labels in batches:
        if not mean_errors:
            atoms = x[:0]
        if len(atoms) < x.shape[1]:
            start = _most_frequent(x, x.shape[1] - len(atoms))
            atoms, sources = torch.cat([atoms, _unit(x[start])]), torch.cat([sources, labels[start]])
        errors = _errors(x, plain_pursuit(atoms, x, l0) @ atoms, error)
        mean_errors.append(errors.mean().item())
        admitted = errors > threshold
        atoms, sources = torch.cat([atoms, _unit(x[admitted])]), torch.cat([sources, labels[admitted]])
    if not mean_errors:
        raise ValueError("no batches: nothing to build a dictionary from")
    return atoms, sources, mean_errors


def _unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=1, keepdim=True)


def _most_frequent(x: torch.Tensor, wanted: int) -> torch.Tensor:
    """Return the first index of each of the most frequent distinct rows of x [n, d].

    At most `wanted` of them. Zero rows, which have no direction, are left out.
    """
    distinct, which, counts = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    first = torch.full((len(distinct),), len(x)).scatter_reduce(0, which, torch.arange(len(x)), reduce="amin")
    taken = first[counts.argsort(descending=True, stable=True)[:wanted]]
    return taken[x[taken].any(dim=1)]


def _errors(x: torch.Tensor, reconstruction: torch.Tensor, unit: str) -> torch.Tensor:
    """Return [n] errors in a unit; NaN for a zero row, which no threshold admits."""
    if unit == "cosine":
        direction = reconstruction / reconstruction.norm(dim=1, keepdim=True).clamp_min(1e-9)
        return (_unit(x) - direction).pow(2).mean(dim=1)
    squared = (x - reconstruction).pow(2).sum(dim=1)
    return squared if unit == "squared" else squared / x.pow(2).sum(dim=1)
