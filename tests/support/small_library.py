"""A library with one dictionary of three atoms that no model made: quick to write, and to spoil."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from itda_core import Dictionary
from itda_core.common.files import sha256_of, write_json
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.common.settings import DictionarySettings
from itda_core.library.library import Library
from tests.support.small_pair import windows, write_index

ID = "small-l3-resid-0000000000"
SOURCES = [(0, 1), (1, 2), (2, 3)]
ATOMS = torch.nn.functional.normalize(torch.arange(1.0, 25).reshape(3, 8) + 9 * torch.eye(3, 8))
CODES = np.tile([[0.5, 0, 0], [0, -2, 0], [1, 0, 3]], (12, 1))
"""[tokens, atoms]: of each document's three captured tokens."""


def write_library(root: Path) -> Library:
    """A new library that holds it, whole."""
    folder = root / "dictionaries" / ID
    write_index(folder, windows(1), SOURCES, CODES)
    errors = torch.linspace(0.9, 0.3, 3, dtype=torch.float64)
    Dictionary(ATOMS, torch.tensor(SOURCES), DictionarySettings(l0=2), errors).save(folder)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest_of(ID) | {"files": {}}))
    sign(folder)
    return Library(root)


def sign(folder: Path, **changes: Any) -> None:
    """Change a manifest, and have it name the files as they are now, as a stranger can."""
    said = json.loads((folder / MANIFEST_FILE).read_text())
    files = {name: sha256_of(folder / name) for name in (ATOMS_FILE, INDEX_FILE)}
    write_json(folder / MANIFEST_FILE, said | {"files": files} | changes)


def spoil_atoms(folder: Path, change: Callable[[Dictionary], None]) -> None:
    """Change the atoms of a dictionary, and sign it again."""
    dictionary = Dictionary.load(folder)
    change(dictionary)
    dictionary.write_atoms(folder)
    sign(folder)


def manifest_of(name: str, **changes: Any) -> dict[str, Any]:
    """A manifest of that id, but for its files; of this dictionary unless changed."""
    return {
        "id": name,
        "model": "small",
        "revision": None,
        "weights_sha256": None,
        "tokenizer_sha256": "0" * 64,
        "dtype": "float32",
        "n_layers": 6,
        "layer": 3,
        "hook": "resid",
        "corpus": "words-0123456789",
        "cut": {"context": 4},
        "settings": {"l0": 2},
        "n_atoms": 3,
        "d_model": 8,
        "n_tokens": 36,
        "holdout": True,
        "prefix": 0,
        "relative_error": 0.25,
        "measured_tokens": 3,
        "seconds": 1.0,
        "created": "2026-01-01T00:00:00+00:00",
        "history": [[36, 3, 0.5]],
        "versions": {},
    } | changes
