"""Measures worked out by hand, on few tokens in three dimensions; and what must hold of them on real activations."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from itda_core.common.bootstrap import ratio_intervals
from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Codes
from itda_core.comparison.chance import bootstrap
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.coders import DictionaryCoder
from itda_core.evaluation.metrics import LARGE, HeldOut, Measurement, Setting, measure_points
from itda_core.reports.quality import Measured


def dictionary(atoms: torch.Tensor, method: str = "matching") -> Dictionary:
    return Dictionary(atoms, torch.zeros(len(atoms), 2), DictionarySettings(method=method))


def measured(of: Dictionary, x: torch.Tensor, documents: list[int], l0: int = 1) -> dict[str, Measured]:
    sources = torch.tensor([[document, at] for at, document in enumerate(documents)])
    found = measure_points([Setting(l0, DictionaryCoder(of, l0))], [HeldOut(x, sources, None)])
    (point,) = found.points
    assert (point.latents, point.l0) == (len(of), l0)
    assert (found.ce_original, found.ce_zero) == (None, None)
    return point.measured


@pytest.fixture
def by_hand() -> dict[str, Measured]:
    """Atoms e1, e2 and e3, one step for each token.

    (3, 4, 0) is coded 4·e2, and 9 of its 25 are left; (−2, 0, 0) is −2·e1 to the full; both are of document 5.
    (2, 1, 0) of document 7 is 2·e1, and 1 of its 5 is left.
    """
    x = torch.tensor([[3.0, 4, 0], [-2, 0, 0], [2, 1, 0]])
    return measured(dictionary(torch.eye(3)), x, [5, 5, 7])


def test_reconstruction_by_hand(by_hand: dict[str, Measured]) -> None:
    # Two documents drawn anew are both, or either twice; each of the latter a quarter of the time.
    assert by_hand["relative_error"] == pytest.approx((0.56 / 3, 0.36 / 2, 0.2))
    # The mean is (1, 5/3, 0): what varies is 4 + 49/9, 9 + 25/9 and 1 + 4/9, in sum 22 2/3; left are 9, 0 and 1.
    first, last = 4 + 49 / 9 + 9 + 25 / 9, 1 + 4 / 9
    assert by_hand["variance_explained"] == pytest.approx((1 - 10 / (68 / 3), 1 - 1 / last, 1 - 9 / first))
    assert by_hand["l0"] == pytest.approx((1, 1, 1))


def test_signs_by_hand(by_hand: dict[str, Measured]) -> None:
    assert by_hand["negative"] == pytest.approx((1 / 3, 0, 1 / 2))
    assert by_hand["large_negative"] == pytest.approx((1 / 3, 0, 1 / 2))
    # −1 beside a norm of √(1 + 4.1²) = 4.22 is less than a quarter of it, beside √(1 + 3.8²) = 3.93 more.
    x = torch.tensor([[-1.0, 4.1, 0], [-1, 3.8, 0]])
    found = measured(dictionary(torch.eye(3)), x, [0, 1], l0=2)
    assert LARGE == 0.25
    assert found["negative"].value == pytest.approx(2 / 4)
    assert found["large_negative"].value == pytest.approx(1 / 4)


def test_how_latents_fire_by_hand(by_hand: dict[str, Measured]) -> None:
    # e1 fires on 2 tokens of 3, e2 on 1, e3 never. Without document 5, e2 is dead too and e1 fires on all tokens;
    # without document 7 both fire on half of them. The jackknife's variance of two is half the sum of the squared
    # deviations.
    reach = 1.959964 * np.sqrt(((2 / 3 - 1 / 2) ** 2 + (1 / 3 - 1 / 2) ** 2) / 2)
    assert by_hand["dead"] == pytest.approx((1 / 3, 1 / 3 - reach, 1 / 3 + reach))
    density, middle = np.log(np.sqrt(2 / 9)), np.log(1 / 2) / 2
    reach = 1.959964 * np.sqrt(((0 - middle) ** 2 + (np.log(1 / 2) - middle) ** 2) / 2)
    assert by_hand["density"] == pytest.approx(np.exp((density, density - reach, density + reach)))


def test_what_cannot_be_measured_is_left_out() -> None:
    nothing = measured(dictionary(torch.eye(3)), torch.zeros(4, 3), [0, 0, 1, 1])
    assert set(nothing) == {"relative_error", "l0", "dead"}
    assert nothing["relative_error"] == nothing["l0"] == (0, 0, 0)  # of a zero row nothing is unexplained
    assert nothing["dead"] == (1, 1, 1)
    # e1 fires in one document alone: without it nothing does, of which no density can be told.
    lone = measured(dictionary(torch.eye(3)), torch.tensor([[1.0, 0, 0], [0, 0, 0]]), [0, 1])
    assert "density" not in lone
    assert lone["dead"].value == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="no tokens to measure on"):
        measure_points([], [])


def test_of_one_document_nothing_varies() -> None:
    found = measured(dictionary(torch.eye(3)), torch.tensor([[3.0, 4, 0], [1, 0, 0], [0, 1, 0]]), [3, 3, 3])
    for name, value in found.items():
        assert value == pytest.approx((value.value,) * 3), name


def batches_of(x: torch.Tensor, sources: torch.Tensor, rows: int) -> Iterator[HeldOut]:
    for part, own in zip(x.split(rows), sources.split(rows), strict=True):
        yield HeldOut(part, own, None)


def real(
    activations: torch.Tensor, sources: torch.Tensor, method: str = "matching", rows: int = 64, atoms: int = 60
) -> Measurement:
    of = dictionary(torch.nn.functional.normalize(activations[:atoms], dim=1), method)
    coders = [Setting(l0, DictionaryCoder(of, l0)) for l0 in (1, 2, 4, 8, 16)]
    return measure_points(coders, batches_of(activations[300:], sources[300:], rows))


def test_batches_do_not_matter(activations: torch.Tensor, sources: torch.Tensor) -> None:
    advanced: list[int] = []
    of = dictionary(torch.nn.functional.normalize(activations[:60], dim=1))
    coders = [Setting(4, DictionaryCoder(of, 4))]
    small = measure_points(coders, batches_of(activations, sources, 37), advanced.append)
    large = measure_points(coders, batches_of(activations, sources, 600))
    assert sum(advanced) == small.tokens == large.tokens == 600
    assert small.documents == large.documents == 12
    for name, value in small.points[0].measured.items():
        assert value == pytest.approx(large.points[0].measured[name], rel=1e-5), name


@pytest.mark.parametrize("method", ["matching", "orthogonal", "nonnegative", "refitted"])
def test_more_steps_never_reconstruct_worse(activations: torch.Tensor, sources: torch.Tensor, method: str) -> None:
    found = real(activations, sources, method)
    errors = [point.measured["relative_error"].value for point in found.points]
    explained = [point.measured["variance_explained"].value for point in found.points]
    active = [point.measured["l0"].value for point in found.points]
    assert errors == sorted(errors, reverse=True) and 0 < errors[-1] < errors[0] < 1
    assert explained == sorted(explained) and explained[-1] < 1
    assert active == sorted(active) and all(a <= point.l0 for a, point in zip(active, found.points, strict=True))
    negative = [point.measured["negative"].value for point in found.points]
    assert all(share == 0 for share in negative) if method == "nonnegative" else max(negative) > 0
    for point in found.points:
        for name, value in point.measured.items():
            assert value.low <= value.value <= value.high, name
            assert name == "l0" or value.high <= 1, name


def test_measures_are_what_numpy_makes_of_dense_codes(activations: torch.Tensor, sources: torch.Tensor) -> None:
    (_, _, point, *_) = real(activations, sources).points
    of = dictionary(torch.nn.functional.normalize(activations[:60], dim=1))
    x, atoms = activations[300:].numpy().astype(np.float64), of.atoms.numpy().astype(np.float64)
    codes = of.encode(activations[300:], 4)
    dense = np.zeros((300, 60))
    dense[codes.row, codes.atom] = codes.coefficient
    left = ((x - dense @ atoms) ** 2).sum(1)
    fires = (dense != 0).mean(0)
    expected = {
        "relative_error": (left / (x**2).sum(1)).mean(),
        "variance_explained": 1 - left.sum() / ((x - x.mean(0)) ** 2).sum(),
        "l0": (dense != 0).sum(1).mean(),
        "density": np.exp(np.log(fires[fires > 0]).mean()),
        "dead": (fires == 0).mean(),
        "negative": (dense < 0).sum() / (dense != 0).sum(),
        "large_negative": (dense < -0.25 * np.linalg.norm(x, axis=1, keepdims=True)).sum() / (dense != 0).sum(),
    }
    assert {name: value.value for name, value in point.measured.items()} == pytest.approx(expected, rel=1e-4)


def test_scale_and_rotation_change_nothing(activations: torch.Tensor, sources: torch.Tensor) -> None:
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(3).normal(size=(24, 24)))[0].astype(np.float32))
    plain, turned = real(activations, sources), real(7 * activations @ rotation, sources)
    for a, b in zip(plain.points, turned.points, strict=True):
        for name, value in a.measured.items():
            assert b.measured[name].value == pytest.approx(value.value, rel=0.02, abs=0.003), name


class Wide:
    """A coder that says it has more latents than it uses, and adds an offset: what an autoencoder may do."""

    latents = 10

    def encode(self, x: torch.Tensor) -> Codes:
        row = np.arange(len(x))
        return Codes(row, np.full(len(x), 9), np.ones(len(x), np.float32))

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        return torch.tensor([1.0, 0, 0]).expand(n, 3)


def test_any_coder_is_measured() -> None:
    x = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, -1, 0], [1, 0, 0]])
    sources = torch.tensor([[0, 1], [0, 2], [1, 1], [1, 2]])
    (point,) = measure_points([Setting(1, Wide())], [HeldOut(x, sources, None)]).points
    assert point.latents == 10
    # All that varies is left: what stays the same explains nothing.
    assert point.measured["variance_explained"].value == pytest.approx(0)
    assert point.measured["relative_error"].value == pytest.approx((0 + 1 / 2 + 1 / 2 + 0) / 4)
    assert point.measured["dead"].value == pytest.approx(0.9)
    assert point.measured["density"].value == pytest.approx(1)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        tokens = random.integers(5, 40, size=60).astype(float)
        sums = tokens * 0.3 + random.normal(size=60) * tokens * 0.1
        (interval,) = ratio_intervals(sums[:, None], tokens[:, None])
        assert interval is not None
        held += interval.low <= 0.3 <= interval.high
    assert 85 <= held <= 100


def test_ratios_are_measured_on_the_same_draws() -> None:
    random = np.random.default_rng(1)
    above, below = random.random((30, 3)), random.random((30, 3)) + 0.1
    together = ratio_intervals(above, below)
    for column in range(3):
        (alone,) = ratio_intervals(above[:, [column]], below[:, [column]])
        assert alone == pytest.approx(together[column])
    assert ratio_intervals(np.ones((4, 2)), np.array([[0, 1.0]] * 4)) == [None, (1, 1)]
    assert ratio_intervals(np.ones((0, 1)), np.ones((0, 1))) == [None]


def test_the_jaccard_interval_is_one_of_them() -> None:
    random = np.random.default_rng(2)
    documents = pd.DataFrame({name: random.integers(0, 5, 80) for name in ("both", "a", "b")})
    union = documents.sum(axis=1).to_numpy(float)
    (expected,) = ratio_intervals(documents[["both"]].to_numpy(float), union[:, None])
    assert bootstrap(documents) == expected
    assert bootstrap(documents[:0]) == (0, 0)
