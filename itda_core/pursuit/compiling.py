"""numba's compiler as the loops of this package use it: with its cache on disk, where there is a place for one."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` that keeps what it compiles for the next process.

    Where neither the folder of the package nor one of the user's can be written, as in an installation for all users
    and an account without a home, every process compiles for itself. `NUMBA_CACHE_DIR` names a folder for it.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no such folder
            return numba.njit(**options)(function)

    return decorate
