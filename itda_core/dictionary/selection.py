"""Atom selection for recipes other than the published one.

The number of atoms is that of the published recipe. That recipe admits activations that are poorly explained so far,
and so favours unusual ones; random activations favour common ones. `pruned` considers both as candidates and keeps
those with the largest coefficient mass on activations that are not candidates.
"""

from typing import NamedTuple

import numpy as np
import torch

from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.pursuit import protocol

CANDIDATES = 3
"""Maximum number of random candidates per atom that the published recipe admitted."""
ROUNDS = 4
"""Number of pruning rounds from the candidates to the atoms."""
_CANDIDATE_SHARE = 5  # at most one in this many activations of the sample is a candidate; the others are judges
_JUDGES, _JUDGES_PER_ATOM = 8_192, 4
"""Activations that each round decomposes: the first number, or the second times the number of atoms; different ones in
every round as far as available. With fewer, a rarely needed atom cannot be distinguished from an unneeded one."""


class Chosen(NamedTuple):
    """The atoms of a recipe."""

    atoms: torch.Tensor
    """[n, d_model] float32, unit norm, on the CPU; in order of decreasing mass if they were judged."""
    sources: np.ndarray
    """[n, 2] int64."""
    errors: np.ndarray
    """[n] float64 error at admission; NaN for an atom that came from the sample, which no error admitted."""


class Admitted(NamedTuple):
    """Atoms that the published recipe admitted."""

    atoms: torch.Tensor
    """[n, d_model] float32, unit norm."""
    sources: np.ndarray
    """[n, 2] int64."""
    errors: np.ndarray
    """[n] float64 error at admission."""
    numbers: np.ndarray
    """[n] int64 numbers in the stream of activations."""


class Sample(NamedTuple):
    """Random activations of the stream, in a random order."""

    rows: torch.Tensor
    """[m, d_model] float32."""
    sources: np.ndarray
    """[m, 2] int64."""
    numbers: np.ndarray
    """[m] int64."""


def choose(settings: DictionarySettings, admitted: Admitted, sample: Sample) -> Chosen:
    """Select the atoms of `settings.recipe`, as many as were admitted.

    Raises UserError if the sample is too small for that many random atoms.
    """
    if len(admitted.atoms) == 0:
        return Chosen(admitted.atoms.cpu().clone(), admitted.sources, admitted.errors)
    if settings.recipe == "random":
        return _drawn(admitted, sample)
    return _pruned(settings, admitted, sample)


def _drawn(admitted: Admitted, sample: Sample) -> Chosen:
    n = len(admitted.atoms)
    if n > len(sample.rows):
        raise UserError(
            f"{n:,} atoms are more than the {len(sample.rows):,} activations that random atoms are drawn from: "
            "raise --threshold or give --max-atoms"
        )
    pursuer = protocol.pursuit_backend(sample.rows.shape[1], sample.rows.device, "matching")
    pursuer.append(sample.rows[:n])
    return Chosen(pursuer.atoms.clone(), sample.sources[:n], np.full(n, np.nan))


def _pruned(settings: DictionarySettings, admitted: Admitted, sample: Sample) -> Chosen:
    """Prune the candidates in rounds, smallest mass first.

    A candidate's mass is the sum of its absolute coefficients over the judges: activations of the sample that are not,
    or no longer, candidates. A candidate would explain itself in one step, so it is never a judge. Pruning ends at the
    number of atoms that were admitted.
    """
    n, device = len(admitted.atoms), admitted.atoms.device
    free = np.flatnonzero(~np.isin(sample.numbers, admitted.numbers))
    drawn = free[: min(CANDIDATES * n, len(free) // _CANDIDATE_SHARE)]
    rest = free[len(drawn) :]
    pool = torch.cat([admitted.atoms, sample.rows[torch.from_numpy(drawn)].to(device)])
    sources = np.concatenate([admitted.sources, sample.sources[drawn]])
    errors = np.concatenate([admitted.errors, np.full(len(drawn), np.nan)])
    row_of = np.concatenate([np.full(n, -1), drawn])  # row in the sample
    left, together = np.arange(len(pool)), max(_JUDGES, _JUDGES_PER_ATOM * n)
    sizes = np.geomspace(len(pool), n, ROUNDS + 1)[1:].round().astype(int) if len(drawn) else []
    for number, size in enumerate(sizes):
        at = np.arange(number * together, number * together + min(together, len(rest)))
        judges = sample.rows[torch.from_numpy(np.take(rest, at, mode="wrap"))].to(device)
        kept = np.argsort(-coefficient_mass(pool[torch.from_numpy(left).to(device)], judges, settings), kind="stable")[
            :size
        ]
        gone = np.setdiff1d(left, left[kept])
        rest = np.concatenate([rest, row_of[gone][row_of[gone] >= 0]])
        left = left[kept]
    pursuer = protocol.pursuit_backend(pool.shape[1], torch.device("cpu"), "matching")
    pursuer.append(pool[torch.from_numpy(left).to(device)].cpu())
    return Chosen(pursuer.atoms.clone(), sources[left], errors[left])


def coefficient_mass(atoms: torch.Tensor, x: torch.Tensor, settings: DictionarySettings) -> np.ndarray:
    """Return [n_atoms] float64 sums of each atom's absolute coefficients over x.

    Args:
        atoms: [n_atoms, d_model], scaled to unit norm here.
        x: activations [n, d_model], on the same device.
        settings: L0 and method of the decomposition.
    """
    pursuer = protocol.pursuit_backend(atoms.shape[1], atoms.device, settings.method)
    pursuer.append(atoms)
    codes = protocol.encode(pursuer, x, settings.l0)
    return np.bincount(codes.atom, np.abs(codes.coefficient).astype(np.float64), minlength=len(atoms))
