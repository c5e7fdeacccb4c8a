"""Related atoms: nearest by cosine, and co-firing on the same tokens."""

from collections.abc import Callable, Iterable

import numpy as np
import torch

from itda_core.pursuit.compiling import compiled

LISTED = 10
"""Number of nearest and of co-firing atoms stored for each atom."""
_ATOMS_AT_ONCE = 256  # atoms per block of cosines
_COUNTS_AT_ONCE = 1 << 26  # pairs of atoms counted per pass over the codes: 256 MB
_PAIRS_AT_ONCE = 1 << 21  # pairs ranked per block

Columns = dict[str, np.ndarray]
CodeParts = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Function that yields all codes at each call: token and atom of each, in order of tokens, in parts that share no
token."""


def nearest(atoms: torch.Tensor) -> Columns:
    """Return each atom's nearest atoms by cosine: atom, rank (from 1), other, cosine.

    The atom itself is left out.
    """
    others, cosines = nearest_others(atoms, min(LISTED, len(atoms) - 1))
    columns = _ranked(others)
    columns["cosine"] = cosines.flatten()
    return columns


def nearest_others(atoms: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each atom's k < n nearest others [n, k] and their cosines, nearest first.

    `atoms` are [n, d] unit vectors.
    """
    others, cosines = [], []
    for start in range(0, len(atoms), _ATOMS_AT_ONCE):
        cosine = atoms[start : start + _ATOMS_AT_ONCE] @ atoms.T
        cosine.diagonal(start).fill_(-2)  # below any cosine, which excludes the atom itself
        top = cosine.topk(k, dim=1)
        others.append(top.indices)
        cosines.append(top.values)
    return torch.cat(others).numpy(), torch.cat(cosines).numpy()


def cofiring(parts: CodeParts, n_atoms: int) -> Columns:
    """Return each atom's co-firing atoms by Jaccard similarity of their token sets.

    Memory does not grow with the codes: pairs are counted for as many atoms as fit in memory, then for the next, and
    each of these passes reads the codes again.

    Returns:
        atom, rank (from 1), other, together (tokens on which both fire), jaccard; pairs that never co-fire are left
            out.
    """
    strip = max(1, _COUNTS_AT_ONCE // n_atoms)
    fires = np.zeros(n_atoms, np.int64)
    for _, atom in parts():
        fires += np.bincount(atom, minlength=n_atoms)
    found = [
        _most_similar(both, first, fires)
        for start in range(0, n_atoms, strip)
        for first, both in _in_blocks(_together(parts, start, min(start + strip, n_atoms), n_atoms), start)
    ]
    other, together, jaccard = (np.concatenate(column) for column in zip(*found, strict=True))
    columns = _ranked(other)
    columns["together"] = together.ravel().astype(np.int32)
    columns["jaccard"] = jaccard.ravel().astype(np.float32)
    meet = columns["together"] > 0
    return {name: column[meet] for name, column in columns.items()}


def _together(parts: CodeParts, start: int, stop: int, n_atoms: int) -> np.ndarray:
    """Count the tokens on which atoms from start to stop fire with each other atom.

    Returns [stop - start, n_atoms] int32.
    """
    both = np.zeros((stop - start, n_atoms), np.int32)
    for token, atom in parts():
        bounds = np.append(np.flatnonzero(np.diff(token, prepend=-1)), len(token))
        _count_pairs(bounds, atom, start, both)
    return both


@compiled()
def _count_pairs(bounds: np.ndarray, atom: np.ndarray, start: int, both: np.ndarray) -> None:
    """Add the pairs of atoms that fire on the same token to `both`.

    A token's codes are stored from one bound to the next. Processed atom by atom, since one row of `both` fits the
    caches and the complete matrix may not.
    """
    first = np.zeros(len(both) + 1, np.int64)  # offset in `fired` of each atom's tokens
    for one in atom:
        if start <= one < start + len(both):
            first[one - start + 1] += 1
    first = np.cumsum(first)
    fired = np.empty(first[-1], np.int64)
    free = first.copy()
    for token in range(len(bounds) - 1):
        for one in atom[bounds[token] : bounds[token + 1]]:
            if start <= one < start + len(both):
                fired[free[one - start]] = token
                free[one - start] += 1
    for row in range(len(both)):
        counts = both[row]
        for token in fired[first[row] : first[row + 1]]:
            for other in atom[bounds[token] : bounds[token + 1]]:
                counts[other] += 1


def _in_blocks(both: np.ndarray, start: int) -> Iterable[tuple[int, np.ndarray]]:
    rows = max(1, _PAIRS_AT_ONCE // both.shape[1])
    for first in range(0, len(both), rows):
        yield start + first, both[first : first + rows]


def _most_similar(both: np.ndarray, first: int, fires: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the listed atoms of a block of atoms, their counts, and similarities.

    Each [n, listed].

    Args:
        both: [n, n_atoms] number of tokens on which both fire.
        first: the atom of the first row.
        fires: [n_atoms] number of tokens on which each atom fires.
    """
    listed = min(LISTED, len(fires) - 1)
    similarity = both / np.maximum(fires[first : first + len(both), None] + fires - both, 1)
    np.fill_diagonal(similarity[:, first:], -1)  # below any similarity, which excludes the atom itself
    best = np.argpartition(-similarity, listed - 1, axis=1)[:, :listed] if listed else similarity[:, :0].astype(int)
    order = np.lexsort((best, -np.take_along_axis(similarity, best, 1)))
    best = np.take_along_axis(best, order, 1)
    return best, np.take_along_axis(both, best, 1), np.take_along_axis(similarity, best, 1)


def _ranked(others: np.ndarray) -> Columns:
    """Return columns atom, rank (from 1) and other of lists [n_atoms, listed].

    The best are first.
    """
    n_atoms, listed = others.shape
    return {
        "atom": np.repeat(np.arange(n_atoms, dtype=np.int32), listed),
        "rank": np.tile(np.arange(1, listed + 1, dtype=np.int32), n_atoms),
        "other": others.ravel().astype(np.int32),
    }
