"""Build a small dictionary twice in a fresh process, to measure compilation.

Used by `sae.compile_seconds`: the first build compiles everything. `python -m itda_core.benchmarks.pursuit.cold_build
FOLDER L0 THREADS` reads `rows.safetensors` and writes `seconds.json` there.
"""

import sys
import time
from pathlib import Path

import numba
import torch
from safetensors.torch import load_file

from itda_core.common.files import write_json
from itda_core.dictionary.build import build_dictionary

_THRESHOLD = 0.5  # chosen to admit only some of the rows


def main(folder: Path, l0: int, threads: int) -> None:
    """Build twice, and write the duration of each build."""
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    tensors = load_file(folder / "rows.safetensors")
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        build_dictionary([(tensors["x"], tensors["sources"])], l0, _THRESHOLD, max_atoms=len(tensors["x"]) // 8)
        seconds.append(time.perf_counter() - start)
    write_json(folder / "seconds.json", seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
