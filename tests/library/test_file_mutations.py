"""Damaged files of every kind: what pages read says so in one line, and never raises anything else.

`ITDA_MUTATIONS=3000` tries as many of each kind; `python -m tests.library.test_file_mutations` prints how many raise.
"""

import json
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.panels.build.form import form_of
from itda_core.build.estimate import runs_of
from itda_core.capture.replay import kept_activations
from itda_core.common.errors import UserError
from itda_core.corpus.store import Corpus
from itda_core.interop.copy import read_manifest
from itda_core.interop.importer import read_any
from itda_core.jobs.read import read_jobs, read_log
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.comparison import kept_pairs, read_comparison, read_measures
from itda_core.reports.layers import read_layers
from itda_core.reports.probing import read_probing
from itda_core.reports.quality import dictionary_quality
from itda_core.reports.sae import sae_quality, sae_record, sae_records
from itda_core.reports.transplant import read_transplant
from tests.support.mutations import asked, mutations, put
from tests.support.small_library import ID
from tests.support.whole_library import OTHER, SAE, files_of, whole_library

USUAL = 40
"""Mutations of each kind where no number is asked for."""


def read_dictionaries(library: Library) -> None:
    records = library.records()
    sound = [record for record in records if isinstance(record, DictionaryManifest)]
    assert {each.id for each in records} == {ID, OTHER} and OTHER in {each.id for each in sound}
    runs_of(sound)
    kept_pairs(library, sound)
    json.dumps([record.summary() for record in sound])
    read_manifest(library.folder(ID) / "manifest.json")
    kept_activations(library, library.record(ID))


def read_the_jobs(library: Library) -> None:
    (job,) = read_jobs(library.root)
    assert job.seconds_left is None or job.seconds_left < 1e10
    form_of(job.arguments)
    read_log(library.root, job.id)
    json.dumps([job.done, job.total, job.rate, job.growth], allow_nan=False)
    "".join([job.title, job.stage, job.unit, job.note, job.started, job.updated, job.error or "", *job.finished])


def read_the_corpus(library: Library) -> None:
    (folder,) = library.corpora.iterdir()
    list(Corpus.open(folder).verify())


def read_of_two(read: Callable[..., Any]) -> Callable[[Library], None]:
    return lambda library: read(library, library.record(ID), library.record(OTHER))


def read_sae(library: Library) -> None:
    assert [each.id for each in sae_records(library)] == [SAE]
    sae_quality(library, sae_record(library, SAE))


READERS: dict[str, list[Callable[[Library], Any]]] = {
    "dictionary manifest": [read_dictionaries],
    "job state": [read_the_jobs],
    "job command": [read_the_jobs],
    "job lock": [read_the_jobs],
    "corpus manifest": [read_the_corpus],
    "quality report": [lambda library: dictionary_quality(library, library.record(ID))],
    "probing report": [lambda library: read_probing(library.record(ID), library.folder(ID))],
    "comparison": [read_of_two(read_comparison), read_of_two(read_measures)],
    "transplant": [read_of_two(read_transplant)],
    "layers report": [read_of_two(read_layers)],
    "SAE record": [read_sae],
    "SAE report": [read_sae],
    "shards' manifest": [lambda library: kept_activations(library, library.record(ID))],
    "export": [lambda library: read_any(library.root / "exported")],
}


def spoilt(kind: str, library: Library, n: int) -> list[tuple[bytes | None, Exception]]:
    """Mutations of a kind of file that a reader does not say in one line of, with what it raises instead."""
    path = files_of(library)[kind] if kind != "export" else library.root / "exported" / "about.json"
    sound, found = path.read_bytes(), []
    for content in mutations(sound, zlib.crc32(kind.encode()), n):
        put(path, content)
        for read in READERS[kind]:
            try:
                read(library)
            except UserError as error:
                assert "\n" not in str(error)
            except Exception as error:
                found.append((content, error))
        put(path, sound)
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return whole_library(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", READERS)
def test_no_damaged_file_raises_anything_but_its_one_line(library: Library, kind: str) -> None:
    assert spoilt(kind, library, asked() or USUAL) == []


def main() -> None:
    """Print of each kind how many mutations raise what no page expects."""
    n = asked() or USUAL
    with TemporaryDirectory() as folder:
        library = whole_library(Path(folder))
        for kind in READERS:
            found = spoilt(kind, library, n)
            kinds = sorted({type(error).__name__ for _, error in found})
            print(f"{kind}: {len(found)} of {n:,} raise", *kinds, flush=True)
        shutil.rmtree(library.root)


if __name__ == "__main__":
    sys.exit(main())
