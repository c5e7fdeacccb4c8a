"""A number of atoms in place of a threshold: within 5 %, the same for any batches, and refused where there is none."""

import json
from pathlib import Path

import pytest
import torch

from itda_core import Dictionary, UserError, build_dictionary
from itda_core.cli.command_line import main
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Document
from itda_core.library.library import Library
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A


def cut(x: torch.Tensor, sources: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(x[start : start + size], sources[start : start + size]) for start in range(0, len(x), size)]


@pytest.mark.parametrize("error", ["relative", "squared", "cosine"])
@pytest.mark.parametrize("center", ["none", "mean"])
@pytest.mark.parametrize("wanted", [1, 7, 40, 150])
def test_it_comes_within_five_percent(activations, sources, wanted: int, center, error) -> None:
    found = build_dictionary([(activations, sources)], l0=6, n_atoms=wanted, center=center, error=error)
    assert abs(len(found) - wanted) <= max(1, 0.05 * wanted)  # few atoms jump by one
    threshold = found.settings.threshold
    again = build_dictionary([(activations, sources)], l0=6, threshold=threshold, center=center, error=error)
    assert torch.equal(again.atoms, found.atoms)


def test_it_is_the_same_for_any_batches(activations: torch.Tensor, sources: torch.Tensor) -> None:
    first, second = (build_dictionary(iter(cut(activations, sources, size)), l0=6, n_atoms=60) for size in (600, 31))
    assert first.settings == second.settings and torch.equal(first.atoms, second.atoms)


@pytest.mark.parametrize("recipe", ["pruned", "random"])
def test_other_recipes_have_as_many(activations: torch.Tensor, sources: torch.Tensor, recipe) -> None:
    assert len(build_dictionary([(activations, sources)], l0=6, n_atoms=60, recipe=recipe)) in range(57, 64)


def test_more_than_there_are_is_refused(activations: torch.Tensor, sources: torch.Tensor) -> None:
    with pytest.raises(UserError, match="ask for fewer than 700"):
        build_dictionary([(activations, sources)], l0=6, n_atoms=700)


def test_where_the_number_jumps_the_nearer_one_is_taken(sources: torch.Tensor) -> None:
    x = torch.eye(24).repeat(25, 1)  # 24 directions that have nothing in common: 24 atoms, or none
    assert len(build_dictionary([(x, sources)], l0=6, n_atoms=20)) == 24


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(UserError, match="atoms"):
        DictionarySettings(n_atoms=0)


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
