"""Decompose texts with a model and a dictionary; align passages of two models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itda_core.decompose.decomposer import Decomposer
    from itda_core.models.locate import open_model

_HOMES = {"Decomposer": "itda_core.decompose.decomposer", "open_model": "itda_core.models.locate"}

__all__ = ["Decomposer", "open_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
