"""Fixtures: small real libraries, built through the whole pipeline from the models that come with the project."""

import os
from collections.abc import Iterable
from pathlib import Path
from pydoc_data.topics import topics

from tests.support.builder import LibraryBuilder
from tests.support.places import MODEL_A, MODEL_B

# Read when torch and numba are first imported, here and in what tests start. numba's first parallel loop gives torch as
# many threads as there are cores; where they wait for each other on cores that others use too, they must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # a core for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from itda_core.cli.command_line import main
from itda_core.common.types import Document
from itda_core.pursuit import numba_backend
from tests.support.built_once import BuildOnce
from tests.support.corpora import write_documents

pytest_plugins = [
    f"tests.support.{name}"
    for name in (
        "built_once", "order", "page_fixtures", "quality_fixtures", "shown_pages", "compare_page", "browser",
        "whole_library", "gguf_files",
    )
]  # fmt: skip


def _build(root: Path, documents: Iterable[Document], model: Path, layers: str, *more: str) -> Path:
    corpus = write_documents(root.parent / f"{root.name}.jsonl", documents)
    options = ["--corpus", str(corpus), "--layers", layers, "--l0", "8", "--threshold", "0.25", *more]
    assert main(["build", str(model), *options, "--library", str(root), "--json"]) == 0
    return root


@pytest.fixture(scope="session")
def language_reference() -> list[Document]:
    """The Python language reference that comes with the interpreter."""
    return [Document(name, text) for name, text in sorted(topics.items())]


@pytest.fixture(scope="session")
def build_library() -> LibraryBuilder:
    """`build_library(root, documents)` builds a small library of these documents at `root`, and returns it.

    The documents are repeated up to ten and more, so that some are held out. A map, which takes longer than all else,
    is there with `maps=True`.
    """

    def build(
        root: Path,
        documents: list[Document],
        layers: str = "3",
        tokens: int = 3000,
        model: Path = MODEL_A,
        maps: bool = False,
        options: tuple[str, ...] = (),
    ) -> Path:
        repeated = (documents * 20)[: max(20, len(documents))]
        return _build(root, repeated, model, layers, "--tokens", str(tokens), *([] if maps else ["--no-map"]), *options)

    return build


@pytest.fixture(scope="session")
def library(build_once: BuildOnce, language_reference: list[Document]) -> Path:
    """A library with layers 1 and 3 of model A and layer 3 of model B on one corpus. Copy it before writing to it."""

    def build(folder: Path) -> None:
        for model, layers in ((MODEL_A, "1,3"), (MODEL_B, "3")):
            _build(folder / "library", language_reference, model, layers, "--tokens", "6000")

    return build_once("library", build) / "library"


@pytest.fixture(scope="session")
def activations() -> torch.Tensor:
    """[600, 24] activations with the anisotropy of real ones: a strong common direction and few strong others."""
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(24, 24)))[0]
    strengths = 8.0 * 0.75 ** np.arange(24)
    x = (generator.laplace(size=(600, 24)) * strengths) @ basis + 6 * basis[0]
    return torch.from_numpy(x.astype(np.float32))


@pytest.fixture(scope="session")
def sources() -> torch.Tensor:
    """[600, 2] sources for `activations`."""
    rows = torch.arange(600)
    return torch.stack([rows // 50, rows % 50], 1)


@pytest.fixture(params=["gram", "few rows of it"])
def gram(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the whole Gram matrix, and with room for a few of its rows."""
    if request.param != "gram":
        monkeypatch.setattr(numba_backend, "FIRST_CAPACITY", 128)
        monkeypatch.setattr(numba_backend, "GRAM_LIMIT", 128 * 2 * 30)
