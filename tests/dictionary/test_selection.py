"""Recipes other than the published one: which atoms, and the same ones after a stop and from other batches."""

import numpy as np
import pytest
import torch

from itda_core import Dictionary, DictionaryBuilder, UserError, build_dictionary
from itda_core.capture.local import Capture
from itda_core.common.settings import DictionarySettings, WindowSettings
from itda_core.common.types import Document, Site
from itda_core.corpus.windows import make_windows
from itda_core.dictionary.errors import relative_errors
from itda_core.dictionary.reservoir import Reservoir
from itda_core.dictionary.selection import Admitted, Sample, choose, coefficient_mass
from itda_core.models.model import load_model
from tests.support.batches import in_batches
from tests.support.places import MODEL_B

SETTINGS = {"l0": 4, "threshold": 0.1}


def same(a: Dictionary, b: Dictionary) -> bool:
    return (
        torch.equal(a.atoms, b.atoms)
        and torch.equal(a.sources, b.sources)
        and torch.equal(a.admission_errors.nan_to_num(-1), b.admission_errors.nan_to_num(-1))
        and a.history == b.history
    )


def test_the_published_recipe_is_as_it_was(activations: torch.Tensor, sources: torch.Tensor) -> None:
    settings = DictionarySettings(**SETTINGS)
    assert settings.described() == {  # ids are hashes of it, so that it must not change
        "l0": 4,
        "threshold": 0.1,
        "error": "relative",
        "scan": "sequential",
        "init": "empty",
        "max_atoms": None,
        "method": "matching",
    }
    assert DictionarySettings(**settings.described()) == settings
    assert DictionarySettings(**SETTINGS, recipe="pruned").described()["recipe"] == "pruned"
    builder = DictionaryBuilder(settings)
    builder.add(activations, sources)
    assert not any(name.startswith(("reservoir", "numbers")) for name in builder.state())


def test_what_an_atom_carries_by_hand() -> None:
    x = torch.tensor([[3.0, -4.0, 0.0], [0.0, 2.0, 0.5]])
    found = coefficient_mass(torch.eye(3), x, DictionarySettings(l0=2))
    assert found == pytest.approx([3, 4 + 2, 0.5])
    assert coefficient_mass(torch.eye(3), x, DictionarySettings(l0=1)) == pytest.approx([0, 6, 0])


def test_the_rare_gives_way_to_the_common_by_hand() -> None:
    """Two atoms were admitted, of which one explains nothing else; the sample holds what is common."""
    admitted = Admitted(
        torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), np.array([[0, 1], [0, 2]]), np.array([1.0, 0.9]), np.arange(2)
    )
    rows = torch.tensor([[0.0, 7.0, 0.0]] * 8)
    sample = Sample(rows, np.stack([np.full(8, 5), np.arange(8)], 1), np.arange(10, 18))
    chosen = choose(DictionarySettings(l0=1, recipe="pruned"), admitted, sample)
    assert chosen.sources.tolist() == [
        [5, 0],
        [0, 1],
    ]  # what carries most first; of those that carry nothing, the first
    assert chosen.atoms.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert np.isnan(chosen.errors[0])
    assert chosen.errors[1] == 1.0


def test_with_nothing_to_choose_from_the_published_atoms_stay() -> None:
    x = torch.eye(3)
    built = build_dictionary([(x, torch.arange(6).reshape(3, 2))], l0=1, recipe="pruned")
    assert torch.equal(built.atoms, x)
    zeros = build_dictionary([(torch.zeros(4, 3), torch.zeros(4, 2, dtype=torch.int64))], recipe="random")
    assert len(zeros) == 0


@pytest.mark.parametrize("recipe", ["pruned", "random"])
@pytest.mark.parametrize("scan", ["sequential", "batch"])
def test_atoms_are_activations_of_the_stream(
    activations: torch.Tensor, sources: torch.Tensor, recipe: str, scan: str
) -> None:
    published = build_dictionary(in_batches(activations, sources, 300), **SETTINGS, scan=scan)
    built = build_dictionary(in_batches(activations, sources, 300), **SETTINGS, scan=scan, recipe=recipe)
    assert len(built) == len(published)
    assert built.history == published.history
    row_of = {tuple(source): row for row, source in enumerate(sources.tolist())}
    rows = [row_of[tuple(source)] for source in built.sources.tolist()]
    assert len(set(rows)) == len(rows)
    assert torch.allclose(built.atoms, torch.nn.functional.normalize(activations[rows], dim=1), atol=1e-6)
    errors = dict(zip(map(tuple, published.sources.tolist()), published.admission_errors, strict=True))
    for source, error in zip(built.sources.tolist(), built.admission_errors, strict=True):
        assert (recipe == "pruned" and errors.get(tuple(source)) == error) or torch.isnan(error)
    cropped = build_dictionary(in_batches(activations, sources, 300), **SETTINGS, scan=scan, recipe=recipe, max_atoms=9)
    assert len(cropped) == 9


@pytest.mark.parametrize("recipe", ["pruned", "random"])
def test_other_batches_give_the_same(activations: torch.Tensor, sources: torch.Tensor, recipe: str) -> None:
    one, other = (
        build_dictionary(in_batches(activations, sources, size), **SETTINGS, recipe=recipe) for size in (111, 1000)
    )
    assert torch.equal(one.atoms, other.atoms)
    assert torch.equal(one.sources, other.sources)


@pytest.mark.parametrize("recipe", ["pruned", "random"])
def test_a_resumed_builder_comes_to_the_same(activations: torch.Tensor, sources: torch.Tensor, recipe: str) -> None:
    settings = DictionarySettings(**SETTINGS, recipe=recipe)
    whole, stopped = DictionaryBuilder(settings), DictionaryBuilder(settings)
    for x, labels in in_batches(activations, sources, 170):
        whole.add(x, labels)
        stopped.add(x, labels)
        stopped = DictionaryBuilder.resume(settings, stopped.state(), torch.device("cpu"))
    assert same(whole.finish(), stopped.finish())


def test_pruned_atoms_explain_more_than_the_published_and_the_random_ones(language_reference: list[Document]) -> None:
    """On real activations, of a model and a layer that the recipe was not chosen on."""
    model, site = load_model(str(MODEL_B), device="cpu"), Site(2)
    windows = lambda: make_windows(language_reference, model.tokenizer, WindowSettings(), 6_000)  # noqa: E731
    captured = list(Capture(model, [site], windows))
    x = torch.cat([batch.activations[site] for batch in captured])
    sources = torch.cat([batch.sources for batch in captured])
    held = sources[:, 0] % 10 == 9
    left = {}
    for recipe in ("published", "pruned", "random"):
        built = build_dictionary([(x[~held], sources[~held])], l0=10, threshold=0.45, recipe=recipe)
        left[recipe] = float(relative_errors(x[held], built.decode(built.encode(x[held]), int(held.sum()))).mean())
        assert len(built) == 304
    assert left["pruned"] < 0.95 * min(left["published"], left["random"]), left


def test_the_reservoir_is_a_uniform_sample_however_it_is_filled() -> None:
    x = torch.arange(1, 20_001, dtype=torch.float32)[:, None]
    sources = np.stack([np.arange(20_000), np.zeros(20_000, np.int64)], 1)
    found = []
    for size in (7_000, 90):
        reservoir = Reservoir(1_000)
        for start in range(0, 20_000, size):
            reservoir.add(x[start : start + size], sources[start : start + size], start)
            if size == 7_000:
                reservoir = Reservoir.resume(reservoir.state(), 1_000)
        found.append(reservoir.sample())
    (rows, places, numbers), other = found
    assert torch.equal(rows, other[0])
    assert (numbers == other[2]).all()
    assert (rows[:, 0].numpy() == numbers + 1).all()
    assert (places[:, 0] == numbers).all()
    assert len(set(numbers.tolist())) == 1_000
    counts = np.bincount(numbers // 2_000, minlength=10)
    assert ((counts - 100) ** 2 / 100).sum() < 27.9  # chi-squared, 9 degrees of freedom: once in a thousand
    halves = np.bincount(numbers[:500] // 2_000, minlength=10)  # and so is the first half of it
    assert ((halves - 50) ** 2 / 50).sum() < 27.9


def test_zero_rows_are_in_no_sample() -> None:
    reservoir = Reservoir(10)
    reservoir.add(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), np.array([[0, 0], [0, 1]]), 0)
    assert reservoir.sample()[2].tolist() == [1]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="recipe is 'best'"):
        DictionarySettings(recipe="best")
    with pytest.raises(UserError, match="random atoms are the most"):
        DictionarySettings(recipe="random", max_atoms=50_000)
    admitted = Admitted(torch.eye(3), np.zeros((3, 2), np.int64), np.ones(3), np.arange(3))
    few = Sample(torch.eye(3)[:2], np.zeros((2, 2), np.int64), np.arange(2))
    with pytest.raises(UserError, match="3 atoms are more than the 2 activations"):
        choose(DictionarySettings(recipe="random"), admitted, few)
