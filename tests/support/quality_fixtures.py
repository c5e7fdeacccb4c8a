"""A library with reports on its dictionaries and an SAE, written by hand: their values are known, and no model runs.

A plugin of test files, as page_fixtures is. (PYTEST_DONT_REWRITE: nothing is asserted here.)
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from itda_core.common.files import sha256_of, write_json
from itda_core.common.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.common.settings import SaeSettings
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import PAIRED, Measured, Point, Quality, Series, write_quality
from itda_core.reports.sae import SAE_FILES, WEIGHTS_FILE, SaeRecord
from tests.support.page_fixtures import records

L0S = (4, 8, 16)
DOCUMENTS = 12
WEIGHTS = {name: (1.0,) * DOCUMENTS for name in PAIRED}
"""What each document adds to a denominator, in every report here."""
SAE_ID = "sae-topk-docs-a-l3-resid-0123456789"


def point(latents: int, l0: int, score: float) -> Point:
    """A point whose CE loss score is `score` ± 0.01, and whose other measures follow from it."""

    def around(value: float) -> Measured:
        return Measured(value, value - 0.01, value + 0.01)

    by_document = {name: apart(score - less) for name, less in zip(PAIRED, (0.0, 0.05), strict=True)}
    return Point(
        latents,
        l0,
        {
            "ce_loss_score": around(score),
            "variance_explained": around(score - 0.05),
            "relative_error": around(1 - score),
            "ce_loss": around(2.5 + 5 * (1 - score)),
            "dead": Measured(0.08, 0.07, 0.09),
        },
        by_document,
    )


def apart(mean: float) -> tuple[float, ...]:
    """A value for each document, by turns a tenth above and below the mean: for every point alike."""
    return tuple(mean + (0.1 if document % 2 else -0.1) for document in range(DOCUMENTS))


def quality_of(
    of: str,
    series: tuple[Series, ...],
    seconds: float,
    of_sha256: str,
    by_document: dict[str, tuple[float, ...]] = WEIGHTS,
) -> Quality:
    """A report with these series, on 600 tokens of the fixture's documents."""
    sources = tuple(range(9, 10 * DOCUMENTS, 10))
    return Quality(
        of, 600, DOCUMENTS, 2.5, 7.5, series, seconds, sources=sources, by_document=by_document, of_sha256=of_sha256
    )


def sizes_of(record: DictionaryManifest) -> tuple[int, ...]:
    """The sizes that a report on a dictionary has."""
    return record.n_atoms // 4, record.n_atoms // 2, record.n_atoms


def report(record: DictionaryManifest, ahead: float) -> Quality:
    """A report: more atoms and a higher L0 are better, and random atoms are worse by `ahead`."""

    def points(less: float) -> tuple[Point, ...]:
        return tuple(
            point(size, l0, 0.6 + 0.05 * rank + 0.04 * step - less)
            for rank, size in enumerate(sizes_of(record))
            for step, l0 in enumerate(L0S)
        )

    series = (Series("itda", points(0.0)), Series("random", points(ahead)))
    return quality_of(record.id, series, 4.0, record.files[ATOMS_FILE])


def reported(library: Path, root: Path) -> Path:
    """A copy of a library at `root`, with reports on its dictionaries of layer 3 and an SAE of that site."""
    shutil.copytree(library, root)
    here = Library(root)
    first, second = (record for record in records(root) if record.site.layer == 3)
    write_quality(report(first, 0.05), here.folder(first.id))
    write_quality(report(second, -0.05), here.folder(second.id))
    weights = write_sae(here, first, SAE_ID).files[WEIGHTS_FILE]
    series = (Series("sae", (point(first.n_atoms, 8, 0.9),)),)
    write_quality(quality_of(SAE_ID, series, 1.0, weights), here.saes / SAE_ID)
    return root


def write_sae(here: Library, dictionary: DictionaryManifest, name: str, /, **changes: Any) -> SaeRecord:
    """An SAE beside a dictionary, as far as pages read it: its manifest, and files that they ask no more of than that
    they are there."""
    folder = here.saes / name
    folder.mkdir(parents=True)
    for file in SAE_FILES:
        (folder / file).write_bytes(b"")
    said = {
        "id": name,
        "kind": "topk",
        "width": dictionary.n_atoms,
        "k": 8,
        "d_model": dictionary.d_model,
        "release": None,
        "sae_id": None,
        "settings": SaeSettings(tokens=120_000),
        "tokens": 120_000,
        "distinct_tokens": 5_000,
        "seconds": 95.0,
        "model": dictionary.model,
        "revision": dictionary.revision,
        "weights_sha256": dictionary.weights_sha256,
        "tokenizer_sha256": dictionary.tokenizer_sha256,
        "site": dictionary.site,
        "dictionary": dictionary.id,
        "corpus": dictionary.corpus,
        "cut": dictionary.cut,
        "holdout": True,
        "created": "2026-11-26T20:00:00+00:00",
        "versions": {"sae-lens": "6.54.12"},
        "files": {file: sha256_of(folder / file) for file in SAE_FILES},
    }
    record = SaeRecord(**said | changes)
    write_json(folder / MANIFEST_FILE, record.manifest())
    return record


@pytest.fixture(scope="session")
def with_reports(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with its reports. Copy it before writing to it."""
    return reported(library, tmp_path_factory.mktemp("reports") / "library")
