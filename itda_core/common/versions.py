"""Versions of the packages that a result depends on."""

import importlib.metadata
import platform

_PACKAGES = ("itda-explorer", "torch", "transformers", "nnsight", "numpy", "numba", "duckdb")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect dictionaries."""
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }
