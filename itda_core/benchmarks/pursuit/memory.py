"""What memory this process takes, and the peak of an encode, measured in a process that no other work has filled.

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
_NOISE = 0.02  # of a row's norm, a dimension taken with the others: a repeated row is not quite the same


@dataclass(frozen=True)
class EncodeMemory:
    """What an encode needed beyond the rows that it was given. Megabytes are 10⁶ bytes."""

    rows: int
    """Activations encoded."""
    peak_mb: float
    """Growth of the peak from before the dictionary was loaded to after the encode."""
    dictionary_mb: float
    """Of it, atoms and sources."""
    codes_mb: float
    """Of it, the codes returned."""
    seconds: float
    """Time of the encode, preparing included."""


def encode_memory(atoms: torch.Tensor, x: torch.Tensor, l0: int, rows: int | None = None) -> EncodeMemory | None:
    """Measure the encoding of x [n, d] over atoms [n_atoms, d] in a new process.

    Args:
        atoms: unit norm.
        x: activations.
        l0: pursuit steps.
        rows: how many to encode; beyond n they are repeated with a little noise. All of x unless given.

    Returns:
        None on a system that does not say how much memory a process takes (it needs Linux's /proc, and to write to it).

    Raises:
        RuntimeError: the process failed.
    """
    if not _STATUS.is_file():
        return None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "encode.safetensors"
        save_file({"atoms": atoms.clone(), "x": x.clone()}, file)  # no two tensors of a file may share memory
        command = [sys.executable, "-m", __name__, str(file), str(l0), str(rows or len(x))]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the process that measures memory failed: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return None if found is None else EncodeMemory(**found)


def resident_bytes() -> int | None:
    """What this process holds in memory now; None on a system that does not say (it needs Linux's /proc)."""
    return _status("VmRSS") if _STATUS.is_file() else None


def _measure(file: Path, l0: int, rows: int) -> dict[str, float] | None:
    import time

    x = _repeated(load_file(file)["x"].clone(), rows)
    settings = DictionarySettings(l0)
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
    """`rows` rows out of x [n, d], repeated with a little noise where there are more; filled part by part."""
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
    """Let this process's peak begin anew at what is taken now, and return it in bytes.

    None where no system tells, or where the peak cannot be let go, as where /proc is read-only: there is no measuring
    then, since a peak from before hides what comes after. getrusage's cannot tell either: a child starts with its
    parent's.
    """
    if not _STATUS.is_file():
        return None
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """The most that this process held in memory since `restart_peak`; None on a system that does not say."""
    return _status("VmHWM") if _STATUS.is_file() else None


def _status(field: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
