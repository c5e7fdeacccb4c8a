"""Compiled loops on every machine: where numba finds no folder for its cache they are compiled all the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY

pytestmark = pytest.mark.slow

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


def test_a_change_in_one_file_of_loops_is_seen_by_those_that_another_file_has_cached(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "itda_core", tmp_path / "itda_core", ignore=shutil.ignore_patterns("__pycache__"))
    program = """
import numpy as np
from itda_core.pursuit.gram import append
atoms = np.full((16, 16), 4, np.float32)
append(atoms, np.zeros((1, 256), np.int16), 0, 1, np.zeros(1, np.float32))
print(atoms[0, 0])
"""
    rounding = tmp_path / "itda_core" / "pursuit" / "rounding.py"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    seen = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment
        )
        seen.append(done.stdout.strip())
        rounding.write_text(rounding.read_text().replace("x[row, at] / norm if", "2 * x[row, at] / norm if"))
    assert seen == ["0.25", "0.5"], done.stderr
