"""Activations that are mostly one vector: the build says it, the manifest keeps it, and the page shows it."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from itda_core.common.errors import DamagedError
from itda_core.common.types import Document
from itda_core.library.manifest import DictionaryManifest
from tests.support.builder import LibraryBuilder
from tests.support.page_fixtures import OpenPage, records
from tests.support.places import MODEL_A


def test_a_dimension_that_is_large_at_every_token_is_told(
    tmp_path: Path,
    build_library: LibraryBuilder,
    language_reference: list[Document],
    open_page: OpenPage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "massive"
    shutil.copytree(MODEL_A, model)
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][:, 17] += 300
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    root = build_library(tmp_path / "library", language_reference[:20], "1", 1500, model)
    assert "layer 1 resid: 100 % of the energy of the activations is their mean vector" in capsys.readouterr().err
    (record,) = records(root)
    assert record.energy is not None
    assert (record.energy.dimension, record.energy.mean > 0.9, record.energy.largest > 0.9) == (17, True, True)
    page = open_page(root, "/atoms", d=record.id)
    assert not page.exception
    assert any("subtract the mean" in caption.value for caption in page.caption)


def test_a_mean_below_a_quarter_is_not_told(library: Path, open_page: OpenPage) -> None:
    told = {}
    for record in records(library):
        assert record.energy is not None
        page = open_page(library, "/atoms", d=record.id)
        told[record.energy.mean] = any("energy" in caption.value for caption in page.caption)
    assert {mean >= 0.25: is_told for mean, is_told in told.items()} == {False: False, True: True}, told


def test_a_manifest_s_energy_is_checked(library: Path) -> None:
    record = records(library)[0]
    manifest = json.loads((library / "dictionaries" / record.id / "manifest.json").read_text())
    assert DictionaryManifest.parse(record.id, {k: v for k, v in manifest.items() if k != "energy"}).energy is None
    for wrong in (
        {},
        [],
        "much",
        {"mean": 1.5, "dimension": 0, "largest": 0},
        {"mean": 0, "dimension": -1, "largest": 0},
    ):
        with pytest.raises(DamagedError):
            DictionaryManifest.parse(record.id, manifest | {"energy": wrong})
