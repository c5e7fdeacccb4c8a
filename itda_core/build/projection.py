"""Project a dictionary's atoms onto a plane with UMAP."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from itda_core.common.errors import UserError
from itda_core.common.files import written_whole
from itda_core.common.parquet import write_table
from itda_core.library.map import NEIGHBOURS, SCHEMA

SMALLEST_MAP = 8
"""Minimum number of atoms for a map."""
_SEED = 0


def compute_map(atoms_folder: Path, path: Path) -> None:
    """Compute the UMAP map of a dictionary's atoms and write it to `path`.

    The metric is cosine distance. The file is written atomically.

    Raises UserError for a dictionary with too few atoms.
    """
    import umap  # takes seconds to import

    from itda_core.dictionary.dictionary import Dictionary
    from itda_core.index.neighbours import nearest_others

    atoms = Dictionary.load(atoms_folder).atoms
    if len(atoms) < SMALLEST_MAP:
        raise UserError(f"a map needs {SMALLEST_MAP} atoms or more, this dictionary has {len(atoms)}")
    # With precomputed neighbours UMAP does not compile its own neighbour search, which takes longer than all
    # other steps.
    others, cosines = nearest_others(atoms, min(NEIGHBOURS, len(atoms)) - 1)
    itself = np.arange(len(atoms))[:, None]
    neighbours = np.hstack([itself, others]), np.hstack([np.zeros((len(atoms), 1)), 1 - cosines]).clip(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn")  # warns that new points cannot be transformed: none are
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
        write_table(frame, part, SCHEMA)
