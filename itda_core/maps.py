"""A flat map of a dictionary's atoms, for the eye: near on the map means alike in direction."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from itda_core.files import written_whole
from itda_core.kept_tables import is_numbered, read_table, write_table
from itda_core.types import DamagedError, UserError

SMALLEST_MAP = 8
"""Atoms that a map needs at least."""
_SCHEMA = pa.schema({"atom": pa.int64(), "x": pa.float32(), "y": pa.float32()})
_NEIGHBOURS = 15
_SEED = 0


def compute_map(atoms_folder: Path, path: Path) -> None:
    """Compute the map of a dictionary's atoms by UMAP on cosine distance and write it to `path`, whole or not at all.

    Raises UserError for a dictionary too small to have one.
    """
    import umap  # takes seconds to import

    from itda_core.dictionary import Dictionary
    from itda_core.relations import nearest_others

    atoms = Dictionary.load(atoms_folder).atoms
    if len(atoms) < SMALLEST_MAP:
        raise UserError(f"a map needs {SMALLEST_MAP} atoms or more, this dictionary has {len(atoms)}")
    # Given its neighbours, UMAP does not compile its own search for them, which takes longer than all the rest.
    others, cosines = nearest_others(atoms, min(_NEIGHBOURS, len(atoms)) - 1)
    itself = np.arange(len(atoms))[:, None]
    neighbours = np.hstack([itself, others]), np.hstack([np.zeros((len(atoms), 1)), 1 - cosines]).clip(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn")  # that no further atoms can be placed: none are
        reducer = umap.UMAP(
            n_neighbors=neighbours[0].shape[1],
            precomputed_knn=neighbours,
            metric="cosine",
            random_state=_SEED,
            n_jobs=1,
        )
        places = np.asarray(reducer.fit_transform(atoms.numpy()))
    frame = pd.DataFrame({"atom": range(len(atoms)), "x": places[:, 0], "y": places[:, 1]})
    with written_whole(path) as part:
        write_table(frame, part, _SCHEMA)


def read_map(path: Path, n_atoms: int) -> pd.DataFrame | None:
    """The map of a dictionary of `n_atoms`: atom, x, y, in order of atoms; None while there is none.

    Raises DamagedError for a file that is not a map, or that of another dictionary.
    """
    if not path.is_file():
        return None
    try:
        frame = read_table(path, _SCHEMA, n_atoms)
        if not is_numbered(frame, "atom", np.arange(n_atoms)):
            raise ValueError("does not place each atom once")
        frame = frame.astype({"x": np.float32, "y": np.float32})
        if not np.isfinite(frame[["x", "y"]].to_numpy()).all():
            raise ValueError("has places that are none")
    except ValueError as wrong:
        line = f"{path.name} of {path.parent.name} {wrong}: delete it and compute the map again"
        raise DamagedError(line) from wrong
    return frame
