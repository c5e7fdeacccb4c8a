"""Properties of this machine."""

import os
from pathlib import Path


def machine_memory() -> int | None:
    """Bytes of memory that this machine, or the group of processes that this one is in, may use; None if unknown."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total
