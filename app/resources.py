"""Data that pages read, with the only caches of the app.

The library, and open indexes, maps and models that are kept between runs.
"""

import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import streamlit as st

from itda_core.common.errors import UserError
from itda_core.common.files import is_file, read_json, unreadable
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.corpus.store import Corpus
from itda_core.decompose.passages import Decomposition
from itda_core.jobs.control import cancel, dismiss, start_detached
from itda_core.jobs.state import JobState
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary
from itda_core.library.map import read_map
from itda_core.models.bundled import DEMO_FOLDER
from itda_core.queries.atoms import Index
from itda_core.queries.pairs import Pair
from itda_core.reports.comparison import (
    Comparison,
    folder_of,
    kept_pairs,
    kept_summary,
    key_of,
    read_comparison,
    read_measures,
)
from itda_core.reports.layers import LayerSimilarity, read_layers
from itda_core.reports.probing import Probing, read_probing
from itda_core.reports.quality import QUALITY_FILE, Quality, dictionary_quality
from itda_core.reports.sae import SaeRecord, sae_records
from itda_core.reports.sae import sae_quality as read_sae_quality
from itda_core.reports.transplant import SUMMARY_FILE as TRANSPLANT_FILE
from itda_core.reports.transplant import Transplant, read_transplant

if TYPE_CHECKING:  # they load torch, which only decomposing a text needs
    from itda_core.decompose.decomposer import Decomposer
    from itda_core.models.model import Model

LIBRARY_VARIABLE = "ITDA_LIBRARY"
NO_DEMO_VARIABLE = "ITDA_NO_DEMO"

_RESULTS = DEMO_FOLDER / "results"
LAYERS_RESULTS, RECIPES_RESULTS = _RESULTS / "layers.json", _RESULTS / "recipes.json"

_KEPT_INDEXES = 32  # `itda_core.index.memory` decides how many of them are open
_KEPT_PAIRS = 8
_KEPT_MAPS = 4
_KEPT_RECORDS = 4
_KEPT_MODELS = 2  # as many as a comparison needs
_KEPT_DECOMPOSITIONS = 16
_KEPT_TEXTS = 64
_RECORD_FILES = (MANIFEST_FILE, ATOMS_FILE, INDEX_FILE)


class _Opened(NamedTuple):
    index: Index
    state: tuple[int, ...]
    """Modification times of its files when they were opened."""
    folder: Path


def library() -> Library:
    """Return the library that the app shows.

    Raises UserError for a place that cannot hold one.
    """
    named = os.environ.get(LIBRARY_VARIABLE) or "library"
    try:
        root = Path(named).expanduser().resolve()
    except RuntimeError as error:  # ~ of a user that does not exist
        raise UserError(f"there is no folder {named!r}: name another in {LIBRARY_VARIABLE}") from error
    if root.exists() and not root.is_dir():
        raise UserError(f"{named!r} is not a folder: name another in {LIBRARY_VARIABLE}")
    return Library(root)


def records() -> list[DictionaryManifest | InvalidDictionary]:
    """Return the dictionaries of the library, damaged ones last.

    They are read again when one of their files changes.
    """
    here = library()
    folders = [here.dictionaries / each for each in here.ids()]
    state = tuple((str(folder), *(_modified(folder / name) for name in _RECORD_FILES)) for folder in folders)
    return list(_records(str(here.root), state))


def index(dictionary_id: str) -> Index:
    """Return a dictionary's index, open.

    Raises UserError for an unknown id, DamagedError for one that cannot be read.
    """
    return _opened(str(library().folder(dictionary_id))).index


def pair(a: DictionaryManifest, b: DictionaryManifest) -> Pair:
    """Return the indexes of two dictionaries, opened together.

    They include what a job measured of their atoms, if one did.

    Raises UserError, with the reason, where the two cannot be compared; DamagedError where one cannot be read.
    """
    key, here = key_of(a, b), library()
    summary = kept_summary(here, a, b)
    measured = 0 if summary is None else _modified(summary)
    files = (_state(here.folder(each.id)) for each in (a, b))
    return _paired(str(here.root), a.id, b.id, key, (measured, *files))


def comparison(a: DictionaryManifest, b: DictionaryManifest) -> Comparison | None:
    """Return a job's comparison of two complete dictionaries; None if there is none.

    Raises DamagedError.
    """
    return read_comparison(library(), a, b)


def transplant(a: DictionaryManifest, b: DictionaryManifest) -> Transplant | None:
    """Return A's atoms as a job transplanted them to B's model; None before.

    Raises UserError as `pair` does.
    """
    key_of(a, b)
    here = library()
    written = _modified(folder_of(here, a, b) / TRANSPLANT_FILE)
    return _transplanted(str(here.root), a.id, b.id, written) if written else None


def layers(a: DictionaryManifest, b: DictionaryManifest) -> LayerSimilarity | None:
    """Return the similarities of all layers of two dictionaries' models.

    None where no job measured them yet. Raises UserError as `pair` does.
    """
    key_of(a, b)
    return read_layers(library(), a, b)


def quality(dictionary_id: str) -> Quality | None:
    """Return a job's report on a dictionary's quality; None if there is none.

    Raises UserError for an unknown id, DamagedError for a report that cannot be read or is of another dictionary.
    """
    here = library()
    return dictionary_quality(here, here.record(dictionary_id))


def saes() -> list[SaeRecord | InvalidDictionary]:
    """Return the SAEs of the library, damaged ones included."""
    return sae_records(library())


def sae_quality(record: SaeRecord) -> Quality | None:
    """Return a job's report on an SAE's quality; None if there is none.

    Raises UserError and DamagedError as `quality` does.
    """
    return read_sae_quality(library(), record)


def probing(record: DictionaryManifest) -> Probing | None:
    """Return a job's probing report on a dictionary; None if there is none.

    Raises DamagedError.
    """
    return read_probing(record, library().folder(record.id))


def layers_bench() -> dict[str, Any] | None:
    """Return the results of `itda bench layers` that come with the project.

    None where it was installed without them.
    """
    return read_json(LAYERS_RESULTS) if LAYERS_RESULTS.is_file() else None


def recipes_bench() -> dict[str, Any] | None:
    """Return the results of `itda bench recipes` that come with the project.

    None where it was installed without them.
    """
    return read_json(RECIPES_RESULTS) if RECIPES_RESULTS.is_file() else None


def atom_map(dictionary_id: str) -> pd.DataFrame | None:
    """Return the places of a dictionary's atoms on its map: atom, x, y.

    None while no map is computed. Raises DamagedError.
    """
    path = library().map_path(dictionary_id)
    return _map(str(path), _modified(path), index(dictionary_id).n_atoms) if is_file(path) else None


def decomposition(dictionary_id: str, text: str) -> Decomposition:
    """Return a text as a dictionary decomposes it.

    The first text of a model also waits for the model to load.

    Raises:
        UserError: the id is unknown, the model is missing or not the same, or the text cannot be decomposed.
    """
    folder = library().folder(dictionary_id)
    return _decomposition(str(folder), _modified(folder / MANIFEST_FILE), text)


def keep_text(text: str) -> str:
    """Keep a text that is too long for a URL; return its name.

    It is kept in memory for as long as the app runs, or until newer texts displace it.
    """
    name = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]
    texts = _texts()
    texts[name] = text
    texts.move_to_end(name)
    while len(texts) > _KEPT_TEXTS:
        texts.popitem(last=False)
    return name


def kept_text(name: str) -> str | None:
    """Return a text that was kept; None where it is no longer there."""
    return _texts().get(name)


def compared() -> list[tuple[DictionaryManifest, DictionaryManifest]]:
    """Return the pairs of dictionaries of which a comparison is stored."""
    sound = [record for record in records() if isinstance(record, DictionaryManifest)]
    return list(kept_pairs(library(), sound).values())


def contents() -> frozenset[tuple[str, bool | str]]:
    """Return the contents of the library, to detect when there is more to see.

    These are its dictionaries, whether each has its map, and its comparisons, reports and SAEs.
    """
    here = library()
    try:
        compared = list(here.comparisons.iterdir()) if here.comparisons.is_dir() else []
        reports = list(here.root.glob(f"*/*/{QUALITY_FILE}"))
    except OSError:
        compared, reports = [], []  # no permission: the page that reads one reports it
    return frozenset(
        [
            *((each, _modified(here.map_path(each)) > 0) for each in here.ids()),
            *((path.name, True) for path in compared),
            *((path.parent.name, f"measured {_modified(path)}") for path in reports),
        ]
    )


def corpora() -> list[Corpus | UserError]:
    """Return the corpora of the library.

    One that cannot be read is returned as an error with the reason.
    """
    folder = library().corpora
    found: list[Corpus | UserError] = []
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        paths = [path for path in paths if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        return [unreadable(folder, error)]
    for path in paths:
        try:
            found.append(Corpus.open(path))
        except UserError as error:
            found.append(error)
    return found


def demo_is_allowed() -> bool:
    """Return whether an empty library may start the demo automatically."""
    return not os.environ.get(NO_DEMO_VARIABLE)


def start(*arguments: str) -> str:
    """Start an `itda` command in a process of its own; return its job.

    Raises UserError where none can be started.
    """
    return start_detached(library().root, list(arguments))


def cancel_job(job_id: str) -> JobState:
    """End a running job and wait until it has ended; return its last state.

    Raises UserError where it cannot be ended.
    """
    return cancel(library().root, job_id)


def dismiss_job(job_id: str) -> None:
    """Show an ended job no longer.

    Raises UserError where it runs, or its folder cannot be written.
    """
    dismiss(library().root, job_id)


def start_demo_once() -> str:
    """Start the demo in a process of its own; return its job.

    It is started once in the life of the app, however many users request it.
    """
    root = str(library().root)
    if not (library().jobs / _demo(root)).is_dir():  # the library was emptied since then
        _demo.clear()
    return _demo(root)


def _modified(path: Path) -> int:
    """Return when a file was last written, in ns; 0 where it is missing or unreadable."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _state(folder: Path) -> tuple[int, ...]:
    """Return what changes when a dictionary is rebuilt or its index is restored."""
    return tuple(_modified(folder / name) for name in (MANIFEST_FILE, INDEX_FILE))


def _is_current(opened: _Opened) -> bool:
    return _state(opened.folder) == opened.state


# An index evicted from the cache closes with its last user: another page may be in the middle of a query.
@st.cache_resource(max_entries=_KEPT_INDEXES, show_spinner=False, validate=_is_current)
def _opened(folder: str) -> _Opened:
    path = Path(folder)
    state = _state(path)
    return _Opened(Index(library().index_path(path.name)), state, path)


@st.cache_resource(max_entries=_KEPT_PAIRS, show_spinner=False)
def _paired(root: str, a: str, b: str, key: str, state: tuple) -> Pair:
    here = Library(Path(root))
    measures = read_measures(here, here.record(a), here.record(b))
    return Pair(here.index_path(a), here.index_path(b), key, measures)


@st.cache_resource(max_entries=_KEPT_PAIRS, show_spinner=False)
def _transplanted(root: str, a: str, b: str, written: int) -> Transplant | None:
    here = Library(Path(root))
    return read_transplant(here, here.record(a), here.record(b))


# A resource: manifests are frozen, and copying their histories at every call would take longer than all else.
@st.cache_resource(max_entries=_KEPT_RECORDS, show_spinner=False)
def _records(root: str, state: tuple) -> list[DictionaryManifest | InvalidDictionary]:
    return Library(Path(root)).records()


@st.cache_data(max_entries=_KEPT_MAPS, show_spinner=False)
def _map(path: str, modified: int, n_atoms: int) -> pd.DataFrame | None:
    return read_map(Path(path), n_atoms)


@st.cache_resource(max_entries=_KEPT_DECOMPOSITIONS, show_spinner=False)
def _decomposition(folder: str, modified: int, text: str) -> Decomposition:
    return _decomposer(folder, modified).decompose(text)


@st.cache_resource(max_entries=_KEPT_MODELS, show_spinner=False)
def _decomposer(folder: str, modified: int) -> "Decomposer":
    from itda_core.decompose.decomposer import Decomposer
    from itda_core.dictionary.dictionary import Dictionary

    record = library().record(Path(folder).name)
    model = _model(record.weights_sha256, record.dtype, record.tokenizer_sha256, record)
    return Decomposer(record, model, Dictionary.load(folder))


# Shared by the layers of a model, and by users: of two requests, the second waits for the first to load it.
@st.cache_resource(max_entries=_KEPT_MODELS, show_spinner=False)
def _model(weights_sha256: str | None, dtype: str, tokenizer_sha256: str, _record: DictionaryManifest) -> "Model":
    from itda_core.models.locate import open_model

    return open_model(_record, library().root)


@st.cache_resource(show_spinner=False)
def _texts() -> OrderedDict[str, str]:
    return OrderedDict()


@st.cache_resource(show_spinner=False)
def _demo(root: str) -> str:
    return start("demo")
