"""A number of atoms in place of a threshold: within 5 %, the same for any batches, and refused where there is none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from itda_core import Dictionary, UserError, build_dictionary
from itda_core.cli.command_line import main
from itda_core.common.files import read_json
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Document
from itda_core.library.library import Library
from tests.support.batches import in_batches
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A


class Counted:
    """One batch, which counts how often it is read."""

    def __init__(self, x: torch.Tensor, sources: torch.Tensor) -> None:
        self._batch, self.passes = (x, sources), 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        self.passes += 1
        return iter([self._batch])


@pytest.mark.parametrize("error", ["relative", "squared", "cosine"])
@pytest.mark.parametrize("center", ["none", "mean"])
@pytest.mark.parametrize("wanted", [1, 7, 40, 150])
def test_it_comes_within_five_percent(activations, sources, wanted: int, center, error) -> None:
    if (wanted, error) == (1, "cosine"):
        pytest.skip("an activation that no atom is like has twice the error that it has without atoms: 0, or several")
    found = build_dictionary([(activations, sources)], l0=6, n_atoms=wanted, center=center, error=error)
    assert abs(len(found) - wanted) <= max(1, 0.05 * wanted)  # few atoms jump by one
    threshold = found.settings.threshold
    again = build_dictionary([(activations, sources)], l0=6, threshold=threshold, center=center, error=error)
    assert torch.equal(again.atoms, found.atoms)


def test_it_is_the_same_for_any_batches(activations: torch.Tensor, sources: torch.Tensor) -> None:
    first, second = (build_dictionary(in_batches(activations, sources, size), l0=6, n_atoms=60) for size in (600, 31))
    assert first.settings == second.settings and torch.equal(first.atoms, second.atoms)


@pytest.mark.parametrize("recipe", ["pruned", "random"])
def test_other_recipes_have_as_many(activations: torch.Tensor, sources: torch.Tensor, recipe) -> None:
    assert len(build_dictionary([(activations, sources)], l0=6, n_atoms=60, recipe=recipe)) in range(57, 64)


@pytest.mark.parametrize("wanted", [640, 700, 10**6])
def test_more_than_there_are_is_refused_at_once(activations, sources, wanted: int) -> None:
    batches = Counted(activations, sources)
    with pytest.raises(UserError, match=f"600 activations can be atoms, and {wanted:,} were asked for"):
        build_dictionary(batches, l0=6, n_atoms=wanted)
    assert batches.passes == 1


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
@pytest.mark.parametrize("start", [0.0, 1e-9, 0.3, 1e4])
@pytest.mark.parametrize("error", ["relative", "squared", "cosine"])
def test_it_is_found_from_anywhere(activations, sources, error, start: float, scale: float) -> None:
    batches = Counted(activations * scale, sources)
    found = build_dictionary(batches, l0=6, n_atoms=100, threshold=start, error=error)
    assert abs(len(found) - 100) <= 5 and batches.passes <= 25


def test_by_batches_it_is_refused(activations: torch.Tensor, sources: torch.Tensor) -> None:
    for init in ("empty", "frequent"):
        with pytest.raises(ValueError, match="sequential"):
            build_dictionary([(activations, sources)], n_atoms=10, scan="batch", init=init)


def test_batches_that_differ_from_pass_to_pass_are_refused(activations: torch.Tensor, sources: torch.Tensor) -> None:
    once = iter([(activations, sources)])

    class Spent:
        def __iter__(self):
            yield from once

    with pytest.raises((ValueError, UserError), match=r"rows and then|no activations"):
        build_dictionary(Spent(), l0=6, n_atoms=40)


def test_where_the_number_jumps_the_nearer_one_is_taken(sources: torch.Tensor) -> None:
    x = torch.eye(24).repeat(25, 1)  # 24 directions that have nothing in common: 24 atoms, or none
    assert len(build_dictionary([(x, sources)], l0=6, n_atoms=20)) == 24


def test_numbers_that_cannot_be_are_refused() -> None:
    for wrong in ({"n_atoms": 0}, {"n_atoms": 10, "max_atoms": 20}, {"n_atoms": 10**6, "recipe": "random"}):
        with pytest.raises(UserError, match="atoms"):
            DictionarySettings(**wrong)


def test_itda_build_takes_a_number_for_every_site(tmp_path: Path, language_reference: list[Document], capsys) -> None:
    corpus = write_documents(tmp_path / "reference.jsonl", language_reference[:40])
    root = tmp_path / "library"
    build = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1,3", "--tokens", "1500", "--l0", "6"]
    assert main([*build, "--atoms", "100", "--center", "mean", "--no-map", "--json", "--library", str(root)]) == 0
    found = json.loads(capsys.readouterr().out)["dictionaries"]
    assert [abs(each["n_atoms"] - 100) <= 5 for each in found] == [True, True]
    assert len({each["threshold"] for each in found}) == 2
    library = Library(root)
    for each in found:
        dictionary = Dictionary.load(library.folder(each["id"]))
        assert dictionary.settings.threshold == each["threshold"] == library.record(each["id"]).settings.threshold
        assert (dictionary.admission_errors > each["threshold"]).all()
        assert 0 < each["variance_explained"] < 1
    manifest = read_json(library.folder(found[0]["id"]) / "manifest.json")
    assert (manifest["wanted_atoms"], manifest["format"]) == (100, 2) and "n_atoms" not in manifest["settings"]
    assert main([*build, "--atoms", "100", "--threshold", "0.2", "--library", str(root)]) == 2
    assert "leave out --threshold" in capsys.readouterr().err
