"""ITDA Explorer's core: capture activations, build dictionaries of them, index and measure them.

Names load when first used, so that what needs no torch loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itda_core.common.errors import ChanceWarning, DamagedError, MeanWarning, UserError
    from itda_core.common.types import Codes, Document, Growth, Site
    from itda_core.dictionary.builder import DictionaryBuilder, build_dictionary
    from itda_core.dictionary.dictionary import Dictionary
    from itda_core.library.library import Library

_HOMES = {
    "Dictionary": "dictionary",
    "DictionaryBuilder": "builder",
    "build_dictionary": "builder",
    "Library": "library",
    "ChanceWarning": "types",
    "Codes": "types",
    "DamagedError": "types",
    "Document": "types",
    "Growth": "types",
    "MeanWarning": "types",
    "Site": "types",
    "UserError": "types",
}

__all__ = [
    "ChanceWarning",
    "Codes",
    "DamagedError",
    "Dictionary",
    "DictionaryBuilder",
    "Document",
    "Growth",
    "Library",
    "MeanWarning",
    "Site",
    "UserError",
    "build_dictionary",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
