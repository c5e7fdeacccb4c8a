"""Numba compilation with an on-disk cache, if a writable folder is available."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Apply `numba.njit` with a cache that later processes reuse.

    If neither the package's folder nor one of the user's is writable, as with a system-wide installation and an account
    without a home, every process compiles for itself. `NUMBA_CACHE_DIR` selects a folder for the cache.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no writable folder
            return numba.njit(**options)(function)

    return decorate
