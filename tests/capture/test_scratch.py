"""Activations that are stored for one run: equal to the bit, computed once, and used again after an interruption."""

import errno
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from itda_core.build import pipeline
from itda_core.capture import scratch
from itda_core.capture.local import Batch, Capture
from itda_core.capture.scratch import ScratchBatches
from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError
from itda_core.common.files import sha256_of
from itda_core.common.types import Document, Site
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A

SITES = [Site(1), Site(3, "mlp")]


class Counted:
    """A capture of five batches that counts how many it computes."""

    def __init__(self) -> None:
        self.computed = 0

    def batches(self, first: int = 0) -> Iterator[Batch]:
        for number in range(first, 5):
            self.computed += 1
            random = torch.Generator().manual_seed(number)
            rows = torch.stack([torch.full((7,), number), torch.arange(7)], 1)
            yield Batch({site: torch.randn(7, 6, generator=random) * 1e-3 for site in SITES}, rows)


def equal(found: Iterable[Batch], expected: list[Batch]) -> bool:
    return all(
        torch.equal(a.sources, b.sources) and all(torch.equal(a.activations[s], b.activations[s]) for s in SITES)
        for a, b in zip(found, expected, strict=True)
    )


def test_every_pass_is_equal_and_the_first_alone_computes(tmp_path: Path) -> None:
    capture, expected = Counted(), list(Counted().batches())
    found = ScratchBatches(capture, tmp_path / "scratch")
    for first in (0, 0, 3, 5):
        assert equal(found.batches(first), expected[first:])
    assert capture.computed == 5


def test_an_interrupted_pass_goes_on(tmp_path: Path) -> None:
    expected = list(Counted().batches())
    assert len(list(islice(ScratchBatches(Counted(), tmp_path).batches(), 2))) == 2
    capture = Counted()
    resumed = ScratchBatches(capture, tmp_path)
    assert equal(resumed.batches(4), expected[4:])  # those before are stored on the way
    assert capture.computed == 3
    assert equal(resumed.batches(), expected) and capture.computed == 3


def test_a_disk_that_fills_up_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, expected, write = Counted(), list(Counted().batches()), scratch.write_shard

    def full(packed, folder: Path, number: int) -> Path:
        if number == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(packed, folder, number)

    monkeypatch.setattr(scratch, "write_shard", full)
    found = ScratchBatches(capture, tmp_path / "scratch")
    for first in (0, 0, 2):
        assert equal(found.batches(first), expected[first:])
    assert capture.computed == 5 + 5 + 3 and not (tmp_path / "scratch").exists()


def test_a_stored_batch_that_was_changed_is_refused(tmp_path: Path) -> None:
    found = ScratchBatches(Counted(), tmp_path)
    assert len(list(found.batches())) == 5
    second = sorted(tmp_path.iterdir())[1]
    second.write_bytes(second.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedError, match="changed"):
        list(found.batches())


@pytest.mark.parametrize("more", [(), ("--center", "mean"), ("--center", "mean", "--atoms", "50")])
def test_a_build_reads_the_texts_once_if_the_disk_has_room(
    tmp_path: Path, language_reference: list[Document], monkeypatch: pytest.MonkeyPatch, capsys, more: tuple[str, ...]
) -> None:
    corpus = write_documents(tmp_path / "reference.jsonl", language_reference[:40])
    build = [
        "build",
        str(MODEL_A),
        "--corpus",
        str(corpus),
        "--layers",
        "3",
        "--tokens",
        "1500",
        "--l0",
        "4",
        "--no-map",
    ]
    run, passes = Capture._run, []
    monkeypatch.setattr(Capture, "_run", lambda self, windows: passes.append(len(windows)) or run(self, windows))
    found = {}
    for has_room in (True, False):
        passes.clear()
        monkeypatch.setattr(pipeline, "fits", lambda *_, has_room=has_room: has_room)
        root = tmp_path / f"library-{has_room}"
        assert main([*build, *more, "--no-map", "--library", str(root)]) == 0
        (folder,) = (root / "dictionaries").glob("[!.]*")
        assert [path.name for path in (root / "dictionaries").glob(".*")] == []
        assert {path.name for path in folder.iterdir()} == {"manifest.json", "atoms.safetensors", "index.duckdb"}
        found[has_room] = folder.name, sha256_of(folder / "atoms.safetensors"), len(passes)
    assert found[True][:2] == found[False][:2]
    assert found[False][2] >= (2 + bool(more)) * found[True][2]
    assert ("no room" in capsys.readouterr().err) is True


def test_several_sizes_and_thresholds_come_of_one_reading(
    tmp_path: Path, language_reference: list[Document], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    corpus = write_documents(tmp_path / "reference.jsonl", language_reference[:40])
    where = ["--corpus", str(corpus), "--layers", "1,3", "--tokens", "1500", "--l0", "4", "--no-map"]
    run, passes = Capture._run, []
    monkeypatch.setattr(Capture, "_run", lambda self, windows: passes.append(len(windows)) or run(self, windows))

    def built(name: str, *more: str) -> dict[str, str]:
        root = tmp_path / name
        assert main(["build", str(MODEL_A), *where, *more, "--library", str(root)]) == 0
        assert not list((root / "dictionaries").glob(".*"))
        return {path.name: sha256_of(path / "atoms.safetensors") for path in (root / "dictionaries").iterdir()}

    alone = built("alone", "--threshold", "0.4")
    once = len(passes)
    passes.clear()
    assert len(several := built("several", "--threshold", "0.4,0.2")) == 4
    assert len(passes) == once
    assert alone.items() <= several.items()
    passes.clear()
    assert built("several", "--threshold", "0.2,0.4") == several  # all there
    assert not passes
    assert len(built("sizes", "--atoms", "50,100")) == 4
    assert len(passes) == once
    capsys.readouterr()
    assert main(["build", str(MODEL_A), "--layers", "1", "--atoms", "5,6", "--threshold", "0.1"]) == 2
    assert "leave out --threshold, or --atoms" in capsys.readouterr().err
    assert main(["build", str(MODEL_A), "--layers", "1", "--threshold", "0.1,x"]) == 2
    assert "invalid float value: '0.1,x'" in capsys.readouterr().err
