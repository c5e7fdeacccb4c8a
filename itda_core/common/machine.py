"""Properties of this machine."""

import os
from pathlib import Path


def wait_passively() -> None:
    """Have OpenMP's threads sleep while they wait for each other, unless the environment sets otherwise.

    numba's first parallel loop gives torch as many threads as there are cores, and by default they spin: a small build
    takes 1.5 times the processor time, and is slower where other programs run. It is read when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def machine_memory() -> int | None:
    """Return the bytes of memory available to this process; None if unknown.

    The machine's memory, or the limit of the process's control group if that is lower.
    """
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total
