"""Memory of this process, and peak memory of encoding in a fresh process.

`python -m itda_core.benchmarks.pursuit.memory FILE L0 ROWS` is that process: it prints one JSON document.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file

from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.dictionary import Dictionary

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_NOISE = 0.02  # share of a row's norm, over all dimensions together: makes a repeated row differ slightly


@dataclass(frozen=True)
class EncodeMemory:
    """Memory of encoding, without the input rows.

    Megabytes are 10⁶ bytes.
    """

    rows: int
    """Number of activations encoded."""
    peak_mb: float
    """Growth of the peak from before the dictionary was loaded to after encoding."""
    dictionary_mb: float
    """Part of it used by atoms and sources."""
    codes_mb: float
    """Part of it used by the returned codes."""
    seconds: float
    """Seconds of encoding, including preparation."""


def encode_memory(atoms: torch.Tensor, x: torch.Tensor, l0: int, rows: int | None = None) -> EncodeMemory | None:
    """Measure the encoding of x [n, d] over atoms [n_atoms, d] in a new process.

    Args:
        atoms: unit norm.
        x: activations.
        l0: pursuit steps.
        rows: number of rows to encode; beyond n they are repeated with a little noise. All of x by default.

    Returns:
        None on a system that does not report a process's memory (it needs Linux's /proc, and to write to it).

    Raises:
        RuntimeError: the process failed.
    """
    if not _STATUS.is_file():
        return None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "encode.safetensors"
        save_file({"atoms": atoms.clone(), "x": x.clone()}, file)  # tensors in one file must not share memory
        command = [sys.executable, "-m", __name__, str(file), str(l0), str(rows or len(x))]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the process that measures memory failed: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return None if found is None else EncodeMemory(**found)


def resident_bytes() -> int | None:
    """Return the resident memory of this process.

    None on a system that does not report it (it needs Linux's /proc).
    """
    return _status("VmRSS") if _STATUS.is_file() else None


def _measure(file: Path, l0: int, rows: int) -> dict[str, float] | None:
    import time

    x = _repeated(load_file(file)["x"].clone(), rows)
    settings = DictionarySettings(l0=l0)
    small = torch.nn.functional.normalize(x[:64], dim=1)
    Dictionary(small, torch.zeros(len(small), 2), settings).encode(x[:300])  # compiles the loops
    before = restart_peak()
    if before is None:
        return None
    atoms = load_file(file)["atoms"].clone()
    dictionary = Dictionary(atoms, torch.zeros(len(atoms), 2, dtype=torch.int64), settings)
    start = time.perf_counter()
    codes = dictionary.encode(x)
    seconds = time.perf_counter() - start
    return {
        "rows": rows,
        "peak_mb": ((peak_bytes() or 0) - before) / 1e6,
        "dictionary_mb": (dictionary.atoms.nbytes + dictionary.sources.nbytes) / 1e6,
        "codes_mb": sum(part.nbytes for part in codes) / 1e6,
        "seconds": seconds,
    }


def _repeated(x: torch.Tensor, rows: int) -> torch.Tensor:
    """Return `rows` rows from x [n, d], repeated with a little noise beyond n.

    The result is filled part by part.
    """
    filled = torch.empty(rows, x.shape[1])
    generator = torch.Generator().manual_seed(0)
    for start in range(0, rows, len(x)):
        part = filled[start : start + len(x)]
        part.copy_(x[: len(part)])
        if start:
            scale = _NOISE * x[: len(part)].norm(dim=1, keepdim=True) / x.shape[1] ** 0.5
            part += scale * torch.randn(part.shape, generator=generator)
    return filled


def restart_peak() -> int | None:
    """Reset this process's peak memory to its current use, and return that in bytes.

    None if the system does not report it, or if the peak cannot be reset, as with a read-only /proc: measuring is
    then impossible, since an earlier peak hides later growth. The peak of getrusage is no substitute: a child process
    inherits its parent's.
    """
    if not _STATUS.is_file():
        return None
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """Return the peak memory of this process since `restart_peak`.

    None on a system that does not report it.
    """
    return _status("VmHWM") if _STATUS.is_file() else None


def _status(field: str) -> int:
    """Read a field of /proc/self/status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
