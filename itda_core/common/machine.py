"""Properties of this machine."""

import os
from pathlib import Path


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
