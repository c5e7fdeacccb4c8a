"""The paper's algorithms as plainly as they can be written, in float64: what the fast paths are held against."""

import numpy as np


def pursue(atoms: np.ndarray, x: np.ndarray, k: int) -> tuple[dict[int, float], list[float]]:
    """Code of one activation as atom → coefficient, and the residual's squared norm after each step."""
    atoms, residual = atoms.astype(np.float64), x.astype(np.float64)
    code: dict[int, float] = {}
    norms = [float(residual @ residual)]
    for _ in range(k):
        if len(atoms) == 0:
            break
        correlation = atoms @ residual
        best = int(np.abs(correlation).argmax())
        code[best] = code.get(best, 0.0) + correlation[best]
        residual = residual - correlation[best] * atoms[best]
        norms.append(float(residual @ residual))
    return code, norms


def error_of(x: np.ndarray, reconstruction: np.ndarray, unit: str) -> float:
    """Reconstruction error of one activation."""
    x, reconstruction = x.astype(np.float64), reconstruction.astype(np.float64)
    squared = float(((x - reconstruction) ** 2).sum())
    if unit == "squared":
        return squared
    if unit == "relative":
        return squared / float((x**2).sum())
    norm = np.linalg.norm(reconstruction)
    direction = reconstruction / norm if norm > 0 else reconstruction
    return float(((x / np.linalg.norm(x) - direction) ** 2).mean())


def sequential_build(x: np.ndarray, k: int, threshold: float, unit: str, max_atoms: int | None) -> list[int]:
    """Rows admitted when each is judged by a dictionary that holds those admitted before it."""
    atoms = np.zeros((0, x.shape[1]))
    admitted: list[int] = []
    for row, activation in enumerate(x):
        code, _ = pursue(atoms, activation, k)
        reconstruction = sum((c * atoms[j] for j, c in code.items()), np.zeros(x.shape[1]))
        room = max_atoms is None or len(admitted) < max_atoms
        if room and error_of(activation, reconstruction, unit) > threshold:
            admitted.append(row)
            atoms = np.concatenate([atoms, activation[None] / np.linalg.norm(activation)])
    return admitted
