"""Compiled loops on every machine: where numba finds no folder for its cache they are compiled all the same."""

import os
import subprocess
import sys

from tests.support.places import REPOSITORY

PROGRAM = """
import numpy as np
import itda_core.comparison.matching, itda_core.index.neighbours, itda_core.pursuit.kernels, itda_core.pursuit.refit
from itda_core.pursuit.sparse import flatten
row, atom, coefficient = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.float32)
picks, coefficients = np.array([[7, 3]]), np.array([[0.5, 0.25]], np.float32)
print(flatten(4, np.array([2]), picks, coefficients, row, atom, coefficient, 0), row, atom, coefficient)
"""


def test_loops_run_where_no_folder_can_be_written() -> None:
    # As for an account without a home that runs what another has installed: only notebooks have a place then.
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator", "NUMBA_CACHE_DIR": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )
    assert done.stdout.strip() == "2 [4 4] [7 3] [0.5  0.25]", done.stderr
