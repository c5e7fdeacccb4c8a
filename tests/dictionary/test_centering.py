"""Centring: the mean is subtracted before encoding, is part of every reconstruction, and depends on no batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from itda_core import DamagedError, Dictionary, DictionaryBuilder, build_dictionary
from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.mean import MeanSums
from tests.support.batches import in_batches

SETTINGS = DictionarySettings(l0=6, threshold=0.2, center="mean")


@pytest.fixture(scope="module")
def built(activations: torch.Tensor, sources: torch.Tensor) -> Dictionary:
    return build_dictionary([(activations, sources)], l0=6, threshold=0.2, center="mean")


def test_it_is_the_dictionary_of_the_activations_less_their_mean(
    built: Dictionary, activations: torch.Tensor, sources: torch.Tensor
) -> None:
    mean = activations.double().mean(0).float()
    plain = build_dictionary([(activations - mean, sources)], l0=6, threshold=0.2)
    assert torch.allclose(built.mean, mean, rtol=1e-6, atol=0)
    assert torch.equal(built.sources, plain.sources) and torch.allclose(built.atoms, plain.atoms, atol=1e-5)
    assert len(built) > 10 and built.settings.center == "mean"
    own, other = built.encode(activations), plain.encode(activations - mean)
    assert np.array_equal(own.atom, other.atom) and np.allclose(own.coefficient, other.coefficient, atol=1e-3)
    reconstruction = built.decode(own, len(activations))
    assert torch.allclose(reconstruction - mean, plain.decode(other, len(activations)), atol=1e-3)
    left = (activations - reconstruction).square().sum(1) / (activations - mean).square().sum(1)
    assert left.max() < 0.21  # whatever was over the threshold became an atom


@pytest.mark.parametrize("size", [1, 7, 64, 599])
def test_batches_do_not_matter_nor_that_they_come_once(
    built: Dictionary, activations: torch.Tensor, sources: torch.Tensor, size: int
) -> None:
    found = build_dictionary(in_batches(activations, sources, size), l0=6, threshold=0.2, center="mean")
    assert torch.equal(found.mean, built.mean) and torch.equal(found.atoms, built.atoms)


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 99))
def test_the_mean_is_the_same_to_the_bit_however_rows_are_cut(sizes: list[int], width: int, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(3, 1e3, (sum(sizes), width)).astype(np.float32))
    whole, parts = MeanSums(), MeanSums()
    whole.add(x)
    for part in x.split(sizes):
        parts.add(part)
    assert torch.equal(whole.mean(), parts.mean())
    assert torch.allclose(whole.mean().double(), x.double().mean(0), rtol=1e-6, atol=1e-3)


def test_the_mean_is_that_of_all_batches_of_any_kind(built: Dictionary, activations: torch.Tensor, sources) -> None:
    arrays = [(activations.double().numpy()[:300], sources.numpy()[:300]), (activations[300:], sources[300:])]
    assert torch.equal(build_dictionary(arrays, l0=6, threshold=0.2, center="mean").atoms, built.atoms)


def test_a_saved_one_is_the_same_and_one_without_its_mean_is_damaged(built: Dictionary, tmp_path) -> None:
    built.save(tmp_path)
    found = Dictionary.load(tmp_path)
    assert torch.equal(found.mean, built.mean) and found.settings == built.settings
    assert torch.equal(found.crop(5).mean, built.mean)
    plain = Dictionary(built.atoms, built.sources, DictionarySettings())
    assert not plain.mean.any() and "mean" not in plain.tensors()
    plain.write_atoms(tmp_path)
    with pytest.raises(DamagedError, match="needs a mean"):
        Dictionary.load(tmp_path)


@pytest.mark.parametrize(
    ("center", "mean"), [("none", np.zeros(24)), ("mean", None), ("mean", np.zeros(23)), ("mean", np.full(24, np.inf))]
)
def test_a_mean_that_does_not_fit_is_refused(built: Dictionary, center, mean) -> None:
    with pytest.raises(ValueError, match="mean"):
        Dictionary(built.atoms, built.sources, DictionarySettings(center=center), mean=mean)


def test_a_builder_goes_on_to_the_same_dictionary(
    built: Dictionary, activations: torch.Tensor, sources: torch.Tensor
) -> None:
    builder = DictionaryBuilder(SETTINGS, built.mean)
    builder.add(activations[:250], sources[:250])
    resumed = DictionaryBuilder.resume(SETTINGS, builder.state(), torch.device("cpu"), built.mean)
    resumed.add(activations[250:], sources[250:])
    assert torch.equal(resumed.finish().atoms, built.atoms)
    alternating = activations + 3_000 * (-1.0) ** torch.arange(len(activations))[:, None] * torch.eye(24)[17]
    builder.add(alternating, sources)
    assert builder.note() is not None
    assert DictionaryBuilder.resume(SETTINGS, builder.state(), torch.device("cpu"), built.mean).note() == builder.note()
    with pytest.raises(ValueError, match="needs a mean"):
        DictionaryBuilder(SETTINGS)


@pytest.mark.parametrize("recipe", ["pruned", "random"])
def test_other_recipes_choose_among_centred_activations(
    built: Dictionary, activations: torch.Tensor, sources: torch.Tensor, recipe
) -> None:
    found = build_dictionary([(activations, sources)], l0=6, threshold=0.2, center="mean", recipe=recipe)
    rows = found.sources[:, 0] * 50 + found.sources[:, 1]
    unit = torch.nn.functional.normalize(activations[rows] - found.mean, dim=1)
    assert len(found) == len(built) and torch.allclose(found.atoms, unit, atol=1e-5)


def test_without_centring_nothing_is_written_of_it(activations: torch.Tensor, sources, tmp_path) -> None:
    build_dictionary([(activations, sources)], l0=6, threshold=0.2).save(tmp_path)
    assert "center" not in (tmp_path / "manifest.json").read_text()
    assert set(load_file(tmp_path / "atoms.safetensors")) == {"atoms", "sources", "admission_errors"}
