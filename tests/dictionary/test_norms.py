"""Massive activations: counted, marked, and left out where the settings say so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from itda_core import build_dictionary
from itda_core.common.errors import UserError
from itda_core.common.norms import NormSummary, median_norm
from itda_core.common.settings import DictionarySettings
from itda_core.dictionary.norms import row_norms
from tests.support.batches import in_batches


@pytest.fixture(scope="module")
def activations() -> torch.Tensor:
    """300 activations, of which rows 40 and 41 are 30 and 8 times as long as the others."""
    torch.manual_seed(5)
    x = torch.nn.functional.normalize(torch.randn(300, 24), dim=1) * 10
    x[40] *= 30
    x[41] *= 8
    return x


def sources(n: int) -> torch.Tensor:
    return torch.stack([torch.arange(n) // 50, torch.arange(n) % 50], 1)


def test_the_summary_by_hand() -> None:
    found = NormSummary.of(np.array([1, 2, 3, 4, 11, 50.0]), np.array([1, 50, np.nan, 11]))
    assert found == NormSummary(median=3, largest=50, massive=1, atoms=(1,))
    assert found.note() == (
        "1 token has an activation more than 5 times as long as the median one (the longest 17 times), as attention "
        "sinks have; 1 atom is from them"
    )
    assert str(replace(found, left_out=1).note()).endswith("as attention sinks have; they are left out")
    several = str(NormSummary(1, 90, 5, (1, 2), 2).note())
    assert several.endswith("as attention sinks have; 2 are left out; 2 atoms are from them")
    assert NormSummary.of(np.array([1.0, 4.9]), np.array([1.0])).note() is None


def test_activations_that_are_mostly_zero_have_no_limit() -> None:
    found = NormSummary.of(np.array([0, 0, 0, 4.0]), np.array([4.0]))
    assert (found.massive, found.atoms, found.note()) == (0, (), None)
    x = torch.eye(4)[[0, 0, 1]] * torch.tensor([[0.0], [0.0], [1.0]])
    with pytest.raises(UserError, match="most activations are zero"):
        build_dictionary([(x, sources(3))], max_norm=5)


def test_median_of_an_even_number_is_the_lower() -> None:
    assert median_norm(np.array([4, 1, 3, 2.0])) == 2


@pytest.mark.parametrize("center", ["none", "mean"])
@pytest.mark.parametrize("size", [7, 300])
def test_massive_activations_become_no_atoms(activations: torch.Tensor, center, size: int) -> None:
    given = sources(len(activations))
    how = {"l0": 4, "threshold": 0.1, "center": center}
    found = build_dictionary(in_batches(activations, given, size), max_norm=5, **how)
    rest = np.delete(np.arange(len(activations)), [40, 41])
    without = build_dictionary([(activations[rest], given[rest])], **how)
    assert torch.equal(found.atoms, without.atoms)
    assert torch.equal(found.sources, without.sources)
    assert torch.equal(found.mean, without.mean)
    everything = build_dictionary([(activations, given)], **how)
    assert given[40].tolist() in everything.sources.tolist()


def test_a_limit_between_them_leaves_out_one(activations: torch.Tensor) -> None:
    given = sources(len(activations))
    found = build_dictionary([(activations, given)], l0=4, threshold=0.0, max_norm=10)
    assert given[40].tolist() not in found.sources.tolist()
    assert given[41].tolist() in found.sources.tolist()


def test_norms_do_not_depend_on_batches(activations: torch.Tensor) -> None:
    alone = np.concatenate([row_norms(row[None]) for row in activations])
    assert np.array_equal(alone, row_norms(activations))


@pytest.mark.parametrize("wrong", [0.5, 0, -1, float("nan"), float("inf")])
def test_limits_that_cannot_be(wrong) -> None:
    with pytest.raises(UserError, match=r"max_norm is .*1 or more"):
        DictionarySettings(max_norm=wrong)


def test_limits_of_any_type_are_the_same() -> None:
    for given in (5, 5.0, np.float32(5), torch.tensor(5.0)):
        assert DictionarySettings(max_norm=given).described()["max_norm"].hex() == (5.0).hex()
    with pytest.raises(UserError, match="max_norm"):
        DictionarySettings(max_norm="5")


def test_settings_without_a_limit_are_described_as_before() -> None:
    assert "max_norm" not in DictionarySettings().described()
    assert DictionarySettings(max_norm=5).described()["max_norm"] == 5
