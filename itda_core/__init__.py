"""ITDA Explorer's core: capture activations, build dictionaries of them, index and measure them.

The flow, a package for each stage; none imports one below it in this list, and `import-linter` holds them to it:

    common      errors, settings, shared types, files
    library     folders and manifests
    jobs        long work: state, control, locks
    corpus      documents -> stored corpus -> windows of tokens
    models      fetch, locate, load and describe models
    capture     windows -> activations: local, NDIF, stored, replayed
    pursuit     matching pursuit: arrays in, arrays out
    dictionary  the greedy build, encode, decode
    index       codes -> index.duckdb
    build       the pipeline from corpus to index
    queries     read-only SQL over indexes
    decompose   any text -> atoms
    reports     what jobs leave behind
    similarity  one measure per file
    comparison  jobs over two dictionaries
    evaluation  jobs over one: metrics, SAEs, probing
    interop     import, export, the Hub
    benchmarks  one package per `itda bench` command
    cli         the command line

Names load when first used, so that what needs no torch loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itda_core.common.errors import ChanceWarning, DamagedError, MeanWarning, UserError
    from itda_core.common.types import Codes, Document, GrowthPoint, Site
    from itda_core.dictionary.build import build_dictionary
    from itda_core.dictionary.builder import DictionaryBuilder
    from itda_core.dictionary.dictionary import Dictionary
    from itda_core.library.library import Library

_HOMES = {
    "Dictionary": "dictionary.dictionary",
    "DictionaryBuilder": "dictionary.builder",
    "build_dictionary": "dictionary.build",
    "Library": "library.library",
    "ChanceWarning": "common.errors",
    "Codes": "common.types",
    "DamagedError": "common.errors",
    "Document": "common.types",
    "GrowthPoint": "common.types",
    "MeanWarning": "common.errors",
    "Site": "common.types",
    "UserError": "common.errors",
}

__all__ = [
    "ChanceWarning",
    "Codes",
    "DamagedError",
    "Dictionary",
    "DictionaryBuilder",
    "Document",
    "GrowthPoint",
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
