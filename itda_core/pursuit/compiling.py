"""numba's compiler with an on-disk cache, where a folder for it can be written."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile like `numba.njit`, keeping the machine code for the next process.

    numba detects a change only in the file of the function that it cached. These loops call each other across files,
    so the stamp of what is cached covers all sources of this package.

    Where neither the folder of the package nor one of the user's can be written, as in an installation for all users
    and an account without a home, every process compiles for itself. `NUMBA_CACHE_DIR` names a folder for it.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            found: Any = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no such folder
            return numba.njit(**options)(function)
        index = getattr(getattr(found, "_cache", None), "_cache_file", None)
        if index is not None:  # there is none where NUMBA_DISABLE_JIT is set
            index._source_stamp = (index._source_stamp, _package_stamp())
        return found

    return decorate


@cache
def _package_stamp() -> str:
    """Return the SHA-256 of the sources of this package."""
    stamp = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        stamp.update(path.name.encode() + b"\0" + path.read_bytes())
    return stamp.hexdigest()
