"""Measures of similarity: worked by hand, invariant to what they say, and equal to other implementations."""

import math
import warnings
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import jaccard_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import KernelCenterer

from itda_core.benchmarks.machine import timed
from itda_core.common.errors import ChanceWarning
from itda_core.pursuit.reference import plain_pursuit
from itda_core.similarity import concordance as shared
from itda_core.similarity import (
    error_correlation,
    jaccard,
    layer_matching,
    linear_cka,
    linear_regression,
    matched_layers,
    mutual_knn,
    relative,
    relative_representation,
    shared_concordance,
    shared_sources,
    svcca,
    transplant,
    union_jaccard,
)
from itda_core.similarity.checks import TooFewTokens, at_most_one
from itda_core.similarity.matching import both_ways, mean_matching, same_depth

Similarity = Callable[..., float]
ATOMS = torch.arange(0, 200, 4)


def by_transplant(x: torch.Tensor, y: torch.Tensor) -> float:
    return transplant(x, y, ATOMS[: len(x) // 4] if len(x) > 8 else torch.arange(2))


def by_shared_sources(x: torch.Tensor, y: torch.Tensor) -> float:
    return shared_concordance(x, y, ATOMS[: len(x) // 4])


def by_directions(x: torch.Tensor, y: torch.Tensor) -> float:
    return svcca(x, y, directions=20)


def debiased(x: torch.Tensor, y: torch.Tensor) -> float:
    return linear_cka(x, y, debiased=True)


MEASURES: list[Similarity] = [
    linear_cka,
    debiased,
    svcca,
    by_directions,
    relative_representation,
    linear_regression,
    mutual_knn,
    by_transplant,
    by_shared_sources,
]
SYMMETRIC = [measure for measure in MEASURES if measure is not linear_regression]
SHIFT_LEAVES_ALONE = [linear_cka, debiased, svcca, by_directions, linear_regression]

every = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)


@pytest.fixture(scope="module")
def x(activations: torch.Tensor) -> torch.Tensor:
    return activations[:300]


@pytest.fixture(scope="module")
def y(x: torch.Tensor) -> torch.Tensor:
    """[300, 30] what another model might make of the same tokens: a linear map, something not linear, and noise."""
    generator = torch.Generator().manual_seed(3)
    into = torch.randn(24, 30, generator=generator) / 5
    return (x @ into).tanh() * 8 + x @ into + torch.randn(300, 30, generator=generator) + 2


def rotation(d: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(1)))[0]


@pytest.mark.slow
@every
def test_the_same_activations_are_as_alike_as_can_be(measure: Similarity, x: torch.Tensor) -> None:
    assert measure(x, x.clone()) == pytest.approx(1, abs=1e-6)


@every
def test_rotations_scales_and_permutations_leave_it_alone(
    measure: Similarity, x: torch.Tensor, y: torch.Tensor
) -> None:
    value = measure(x, y)
    assert 0.05 < value < 0.99
    permuted = torch.randperm(24, generator=torch.Generator().manual_seed(2))
    for other in (x @ rotation(24), 37.0 * x, 0.01 * x, x[:, permuted], -x):
        assert measure(other, y) == pytest.approx(value, abs=5e-4)
    for other in (y @ rotation(30), 37.0 * y):
        assert measure(x, other) == pytest.approx(value, abs=5e-4)


@every
def test_a_shift_matters_where_it_is_said_to(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    shifted = x + 30 * torch.ones(24)
    assert (abs(measure(shifted, y) - measure(x, y)) < 1e-4) == (measure in SHIFT_LEAVES_ALONE)


@every
def test_an_anisotropic_map_matters_except_to_the_predictor(
    measure: Similarity, x: torch.Tensor, y: torch.Tensor
) -> None:
    stretched = x * torch.linspace(0.1, 9, 24)
    assert (abs(measure(stretched, y) - measure(x, y)) < 1e-4) == (measure is linear_regression)


@every
def test_what_is_symmetric_and_what_has_a_direction(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    assert (abs(measure(x, y) - measure(y, x)) < 1e-6) == (measure in SYMMETRIC)


@every
def test_what_is_alike_scores_higher_than_what_is_not(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    noise = torch.randn(300, 30, generator=torch.Generator().manual_seed(4))
    assert measure(x, y) > measure(x, y + 10 * noise) > measure(x, noise) - 0.05


@every
def test_what_cannot_be_compared_is_refused(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    wrong = x.clone()
    wrong[17, 3] = math.nan
    infinite = x.clone()
    infinite[5, 0] = math.inf
    for a, b, why in (
        (x[:, 0], y, r"\[n, d\]"),
        (x + 1j, y, "x: complex"),
        (x, y.numpy() > 0, "y: true and false"),
        ([["a", "b"]] * 300, y, "x: <U1 values"),
        (x.to_sparse(), y, "x cannot be read as an array of numbers"),
        (x, np.ma.masked_greater(y.numpy(), 1), "y .* values are masked"),
        (x[:250], y, "250 activations against 300"),
        (x[:2], y[:2], "too few"),
        (wrong, y, "activation 17 .* not finite"),
        (x, wrong, "activation 17 .* not finite"),
        (infinite, y, "activation 5 "),
        (torch.ones(300, 5), y, "the same"),
        (x, torch.full((300, 5), 0.1), "the same"),
    ):
        with pytest.raises(ValueError, match=why):
            measure(a, b)


@every
@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e305, 1e-300])
def test_the_scale_of_float64_is_no_matter(measure: Similarity, scale: float, x: torch.Tensor, y: torch.Tensor) -> None:
    a, b = x.double(), y.double()
    value = measure(a, b)
    assert measure(a * scale, b) == pytest.approx(value, abs=1e-9)
    assert measure(a, b * scale) == pytest.approx(value, abs=1e-9)
    assert measure(a * scale, b * scale) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_errors_correlate_at_any_scale(scale: float) -> None:
    a, b = np.random.default_rng(0).random((2, 40))
    assert error_correlation(a * scale, b) == pytest.approx(error_correlation(a, b), abs=1e-12)


@pytest.mark.parametrize("measure", [relative_representation, mutual_knn])
def test_what_looks_at_angles_takes_rows_of_any_scale(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    scales = torch.logspace(-140, 140, 300, dtype=torch.float64)[:, None]
    assert measure(x.double() * scales, y) == pytest.approx(measure(x, y), abs=1e-6)


@pytest.mark.parametrize("measure", [mutual_knn, by_transplant])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_dimension_that_is_large_at_every_token_rounds_nothing_away(
    measure: Similarity, kind: torch.dtype, x: torch.Tensor
) -> None:
    massive = (x - x.mean(0) + 3_000 * torch.eye(24)[17]).to(kind)
    assert measure(massive, massive.double() @ rotation(24).double()) == 1
    assert measure(massive, -massive) == 1


def test_that_all_tokens_have_one_dimension_in_common_is_told(x: torch.Tensor) -> None:
    noise = torch.randn(300, 30, generator=torch.Generator().manual_seed(4))
    a, b = x - x.mean(0), noise
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert abs(relative_representation(a, b)) < 0.2
    massive = a + 3_000 * torch.eye(24)[17], b + 3_000 * torch.eye(30)[5]
    with pytest.warns(ChanceWarning, match=r"shuffled relative representation would be 1\.00 .*; take out the mean"):
        assert relative_representation(*massive) > 0.999
    left, right = (relative.prepare(each) for each in (x, noise + 1))
    every_pair = (left.relative @ right.relative.T).mean()
    assert relative.by_chance(left, right) == pytest.approx(float(every_pair), abs=1e-5)
    with pytest.raises(TooFewTokens, match="or take out the mean of each site first"):
        by_shared_sources(*massive)


def test_what_is_no_number_is_no_similarity() -> None:
    assert at_most_one(1 + 1e-12) == 1
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="cannot be computed"):
            at_most_one(value)


@every
def test_arrays_lists_and_gradients_are_taken(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    value = measure(x, y)
    backwards = np.ascontiguousarray(y.numpy()[::-1])[::-1]
    frozen = x.numpy().copy()
    frozen.flags.writeable = False
    for a, b in (
        (frozen, backwards),
        (x.tolist(), y.numpy().astype(">f8")),
        (x.clone().requires_grad_(), list(y.clone().requires_grad_())),
    ):
        assert measure(a, b) == pytest.approx(value, abs=1e-9)
    coarse = x.bfloat16().requires_grad_(), y.bfloat16()
    assert measure(*coarse) == measure(*(each.detach().float() for each in coarse))
    coarser = x.to(torch.float8_e4m3fn)
    assert measure(list(coarser), y) == measure(coarser, y) == measure(coarser.float(), y)
    assert measure((10 * x).int(), y) == measure((10 * x).int().float(), y)


ROWS: dict[str, tuple[str, Callable[..., float]]] = {
    "transplant": ("atoms", lambda x, y, rows: transplant(x, y, rows)),
    "shared_concordance": ("atoms", lambda x, y, rows: shared_concordance(x, y, rows)),
    "relative_representation": ("anchors", lambda x, y, rows: relative_representation(x, y, rows)),
    "error_correlation": ("atoms_a", lambda x, y, rows: error_correlation(x[:, 0], y[:, 0], rows)),
    "error_correlation, second": ("atoms_b", lambda x, y, rows: error_correlation(x[:, 0], y[:, 0], (), rows)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_numbers_or_a_mask_of_them(name: str, x: torch.Tensor, y: torch.Tensor) -> None:
    argument, measure = ROWS[name]
    rows = [3, 8, 20, 21, 22, 60, 299]
    mask = torch.zeros(300, dtype=torch.bool)
    mask[rows] = True
    value = measure(x, y, torch.tensor(rows))
    assert value != pytest.approx(measure(x, y, torch.tensor([0, 1])), abs=1e-4)  # what a mask was taken for
    for given in (mask, mask.numpy(), mask.tolist(), rows, np.array(rows, np.uint16), np.array(rows, float)):
        assert measure(x, y, given) == value
    for wrong in (
        mask[:-1],
        mask.int(),
        mask.double().tolist(),
        [0.5, 5.7],
        [math.nan, 1.0],
        [1j, 2],
        [-1, 3],
        [3, 300],
        [[1, 2]],
        [1e30],
        ["1"],
        torch.tensor([1, 2]) + 0.5,
    ):
        with pytest.raises(ValueError, match=rf"^{argument}\b"):
            measure(x, y, wrong)


def test_the_same_atom_twice_is_one(x: torch.Tensor, y: torch.Tensor) -> None:
    assert transplant(x, y, [5, 9, 9]) == transplant(x, y, [5, 9])
    with pytest.raises(ValueError, match="1 atoms leave no choice"):
        transplant(x, y, [5, 5])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("k", lambda x, y, n: mutual_knn(x, y, n)),
        ("directions", lambda x, y, n: svcca(x, y, directions=n)),
        ("anchors", lambda x, y, n: relative_representation(x, y, n)),
        ("steps", lambda x, y, n: shared_concordance(x, y, ATOMS, n)),
        ("n", lambda x, y, n: float(len(shared_sources([ATOMS.reshape(-1, 2)], n)))),
    ],
)
def test_counts_are_whole(name: str, call: Callable[..., float], x: torch.Tensor, y: torch.Tensor) -> None:
    value = call(x, y, 5)
    for same in (np.int64(5), np.uint8(5), torch.tensor(5)):
        assert call(x, y, same) == value
    for wrong in (5.0, 5.5, "5", True, -1, np.float32(5)):
        with pytest.raises(ValueError, match=rf"^{name}\b"):
            call(x, y, wrong)


def test_a_share_is_a_number_of_any_type(x: torch.Tensor, y: torch.Tensor) -> None:
    value = svcca(x, y, kept=0.5)
    for same in (np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        assert svcca(x, y, kept=same) == value
    for wrong in ("0.5", True, [0.5], math.nan, 0, 1.5):
        with pytest.raises(ValueError, match=r"^kept\b"):
            svcca(x, y, kept=wrong)


@pytest.mark.parametrize("measure", [relative_representation, mutual_knn, by_transplant, by_shared_sources])
def test_a_zero_row_has_no_direction(measure: Similarity, x: torch.Tensor, y: torch.Tensor) -> None:
    zero = x.clone()
    zero[7] = 0
    with pytest.raises(ValueError, match="activation 7 is zero"):
        measure(zero, y)


@pytest.mark.parametrize("measure", [svcca, by_directions, linear_regression])
def test_with_no_more_tokens_than_directions_nothing_is_said(measure: Similarity) -> None:
    x, y = torch.randn(20, 24), torch.randn(20, 24)
    with pytest.raises(TooFewTokens, match="give more tokens"):
        measure(x, y)


def test_half_precision_is_taken_as_it_is(x: torch.Tensor, y: torch.Tensor) -> None:
    assert linear_cka(x.half(), y.bfloat16()) == pytest.approx(linear_cka(x, y), abs=1e-3)


def test_jaccard_by_hand() -> None:
    a, b = torch.tensor([[0, 1], [0, 2], [3, 1]]), np.array([[3, 1], [0, 2], [1, 0], [2, 0]])
    assert jaccard(a, b) == 2 / 5
    assert jaccard(a, a[[2, 0, 1, 1]]) == 1
    assert jaccard(a, np.zeros((0, 2), int)) == jaccard(a, []) == 0
    assert union_jaccard([a, b[:1]], [b[1:2], b[2:3]]) == 1 / 4
    chosen = np.random.default_rng(0).random((2, 50)) < 0.4
    places = [np.stack([each.nonzero()[0] // 7, each.nonzero()[0] % 7], 1) for each in chosen]
    assert jaccard(*places) == pytest.approx(jaccard_score(*chosen))


@pytest.mark.parametrize(
    ("sources", "why"),
    [
        ([[1, 2, 3]], "sources_a are"),
        ([[0.5, 1]], "sources_a are integers"),
        ([[math.nan, 1]], "sources_a are integers"),
        ([[True, False]], "sources_a are integers"),
        ([[1j, 1]], "sources_a: complex"),
        ([[-1, -1]], "sources_a: one is below 0"),
        (np.zeros((0, 2), int), "empty"),
        ([], "empty"),
        (np.ma.masked_equal([[1, 2], [3, 4]], 3), "sources_a .* values are masked"),
    ],
)
def test_sources_that_are_none(sources: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        jaccard(sources, sources)


def test_models_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="sources_a has no layers"):
        union_jaccard([], [])
    with pytest.raises(ValueError, match="sources_b has no layers"):
        union_jaccard([[[0, 1]]], iter([]))
    with pytest.raises(ValueError, match="sources_a are the sources of each layer: got int"):
        union_jaccard(5, [])


@pytest.mark.filterwarnings("ignore::itda_core.common.errors.ChanceWarning")
def test_linear_cka_by_hand_and_from_kernels(x: torch.Tensor, y: torch.Tensor) -> None:
    line = torch.tensor([[-1.0], [0], [1]])
    bend = torch.tensor([[1.0], [-2], [1]])
    assert linear_cka(line, bend) == pytest.approx(0, abs=1e-12)
    both = torch.cat([line, bend / 3**0.5], 1)  # two directions of equal strength: ‖xᵀy‖² = 4, ‖xᵀx‖ = 2, ‖yᵀy‖ = √8
    assert linear_cka(line, both) == pytest.approx(1 / 2**0.5, abs=1e-6)
    k, m = (KernelCenterer().fit_transform((z.double() @ z.double().T).numpy()) for z in (x, y))
    assert linear_cka(x, y) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()), abs=1e-6)


def test_more_dimensions_than_tokens_are_told_and_debiased() -> None:
    chance, value, left = [], [], []
    for seed in range(30):
        x, y = torch.randn(2, 10, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        with pytest.warns(ChanceWarning, match=r"10 tokens are few for 50 and 50 dimensions: .* debiased=True") as told:
            value.append(linear_cka(x, y))
        chance.append(float(str(told[0].message).split(" all the same")[0].split()[-1]))
        left.append(linear_cka(x, y, debiased=True))
        assert linear_cka(x, x, debiased=True) == pytest.approx(1, abs=1e-9)
    assert np.mean(value) == pytest.approx(np.mean(chance), abs=0.02)
    assert np.mean(value) > 0.8
    assert abs(np.mean(left)) < 0.1
    with pytest.raises(TooFewTokens, match="needs 4 or more"):
        linear_cka(x[:3], y[:3], debiased=True)


def test_debiased_cka_by_its_definition(x: torch.Tensor, y: torch.Tensor) -> None:
    def hsic(k: np.ndarray, m: np.ndarray) -> float:  # Song et al. 2012, Eq. 5
        k, m, n = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), len(k)
        one = np.ones(n)
        both = (
            np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
        )
        return both / (n * (n - 3))

    for rows in (5, 40, 300):
        k, m = ((z[:rows].double() @ z[:rows].double().T).numpy() for z in (x, y))
        expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
        assert linear_cka(x[:rows], y[:rows], debiased=True) == pytest.approx(expected, abs=1e-9)
    noise = torch.randn(3_000, 54, generator=torch.Generator().manual_seed(0))
    a, b = noise[:, :24], noise[:, 24:] + noise[:, :30]
    assert linear_cka(a, b) == pytest.approx(linear_cka(a, b, debiased=True), abs=0.02)  # of many tokens the same


def test_tokens_that_are_equally_far_from_each_other_are_too_few() -> None:
    with pytest.raises(TooFewTokens, match="but for chance"):
        linear_cka(torch.eye(6), torch.eye(6)[:, :4], debiased=True)


def canonical_correlations(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Of centred p and q, largest first, by the generalized eigenproblem (Hotelling 1936)."""
    across = p.T @ q
    inner = across @ np.linalg.solve(q.T @ q, across.T)
    return np.sqrt(scipy.linalg.eigvalsh(inner, p.T @ p).clip(0, 1))[::-1][: min(p.shape[1], q.shape[1])]


def test_svcca_by_its_definition_in_both_forms(x: torch.Tensor, y: torch.Tensor) -> None:
    a, b = (z.double().numpy() for z in (x, y))
    for kept in (0.5, 0.9, 0.99):
        p, q = (PCA(kept, svd_solver="full").fit_transform(z) for z in (a, b))
        assert svcca(x, y, kept=kept) == pytest.approx(canonical_correlations(p, q).mean(), abs=1e-6)
    assert svcca(x, y) == svcca(x, y, kept=0.99)
    for directions in (1, 7, 20):
        p, q = (PCA(directions, svd_solver="full").fit_transform(z) for z in (a, b))
        assert svcca(x, y, directions=directions) == pytest.approx(canonical_correlations(p, q).mean(), abs=1e-6)
    for wrong, why in (
        ({"kept": 0.9, "directions": 20}, "give one of them"),
        ({"directions": 25}, "have 24 directions, 25 were asked: directions can be 24 at most"),
        ({"directions": 0}, "directions is 0"),
        ({"kept": math.nan}, "kept is nan"),
        ({"kept": "all"}, "kept: <U3 values"),
    ):
        with pytest.raises(ValueError, match=why):
            svcca(x, y, **wrong)
    with pytest.raises(TooFewTokens, match="have 19 directions, 20 were asked: give more tokens"):
        svcca(x[:20], y[:20], directions=20)


def test_svcca_finds_a_layer_by_directions_and_not_by_variance() -> None:
    # Two models, each with a simple layer of 5 strong directions and a rich one of 40; what they share of a direction
    # falls with its rank. By variance, everything is most like the simple layer.
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(3_000, 40, generator=generator)
    strengths = {"simple": torch.cat([torch.ones(5), torch.full((35,), 0.01)]), "rich": torch.linspace(1, 0.5, 40)}

    def layer(name: str) -> torch.Tensor:
        noise = torch.linspace(0.2, 2, 40) * torch.randn(3_000, 40, generator=generator)
        return (shared + noise) * strengths[name]

    a, b = ({name: layer(name) for name in strengths} for _ in range(2))
    assert svcca(a["rich"], b["simple"]) > svcca(a["rich"], b["rich"])
    assert svcca(a["rich"], b["rich"], directions=20) > svcca(a["rich"], b["simple"], directions=20)


def test_svcca_by_hand_and_by_scikit_learn(x: torch.Tensor, y: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.linalg.qr(torch.randn(100, 5, generator=generator).sub_(0.0))[0]
    z = torch.linalg.qr(z - z.mean(0))[0]
    a, b = z[:, :2], torch.stack([z[:, 0], 0.6 * z[:, 1] + 0.8 * z[:, 2]], 1)
    assert svcca(a, b, kept=1.0) == pytest.approx((1 + 0.6) / 2, abs=1e-6)
    strengths = torch.tensor([10.0, 3.0, 0.1])  # the last holds less than one part in a hundred
    assert svcca(z[:, :3] * strengths, z[:, [0, 1, 3]] * strengths) == pytest.approx(1, abs=1e-6)
    p, q = (PCA(0.9).fit_transform(v.double().numpy()) for v in (x, y))
    n = min(p.shape[1], q.shape[1])
    found = CCA(n, scale=False, max_iter=20_000, tol=1e-12).fit(p, q).transform(p, q)
    expected = np.mean([np.corrcoef(u, v)[0, 1] for u, v in zip(found[0].T, found[1].T, strict=True)])
    assert n > 2
    assert svcca(x, y, kept=0.9) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="must be over 0"):
        svcca(x, y, kept=1.5)


def test_relative_representation_by_hand(x: torch.Tensor, y: torch.Tensor) -> None:
    a = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    b = torch.tensor([[1.0, 0], [0, 1], [-1, 1]])
    # By the first two as anchors the tokens are (1, 0), (0, 1), (1, 1)/√2 in the one, and (-1, 1)/√2 last in the other.
    assert relative_representation(a, b, torch.tensor([0, 1])) == pytest.approx(2 / 3, abs=1e-6)
    u, v = (z / z.norm(dim=1, keepdim=True) for z in (x, y))
    expected = torch.nn.functional.cosine_similarity(u @ u[:9].T, v @ v[:9].T).mean()
    assert relative_representation(x, y, torch.arange(9)) == pytest.approx(float(expected), abs=1e-5)
    assert relative_representation(x, y, 9) == relative_representation(x, y, 9)
    with pytest.raises(ValueError, match="rows"):
        relative_representation(x, y, torch.tensor([1, 300]))
    with pytest.raises(ValueError, match="1 anchors are too few"):
        relative_representation(x, y, 1)


def test_linear_regression_by_hand_and_by_scikit_learn(x: torch.Tensor, y: torch.Tensor) -> None:
    line = torch.tensor([[-1.0], [0], [1], [2]])
    assert linear_regression(line, 3 - 2 * line) == pytest.approx(1)
    assert linear_regression(line, torch.tensor([[1.0], [0], [0], [1]])) == pytest.approx(0, abs=1e-12)
    fit = LinearRegression().fit(x.numpy(), y.numpy())
    residual = y.numpy() - fit.predict(x.numpy())
    expected = 1 - (residual**2).sum() / ((y - y.mean(0)).numpy() ** 2).sum()
    assert linear_regression(x, y) == pytest.approx(expected, abs=1e-5)
    twice = torch.cat([x, x], 1)  # linearly dependent directions explain no more
    assert linear_regression(twice, y) == pytest.approx(expected, abs=1e-4)


def test_mutual_knn_by_hand_and_by_scikit_learn(x: torch.Tensor, y: torch.Tensor, monkeypatch) -> None:
    def at(*degrees: float) -> torch.Tensor:
        return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])

    # Nearest by angle: 1, 0, 1, 2 against 1, 0, 3, 2: two of four, and one of them twice as long does not matter.
    assert mutual_knn(at(0, 10, 25, 80), 2 * at(0, 10, 50, 55), 1) == 3 / 4
    monkeypatch.setattr("itda_core.similarity.nearest_neighbours._BLOCK", 70)
    near = [
        NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute").fit(z).kneighbors(return_distance=False)
        for z in (x.double().numpy(), y.double().numpy())
    ]
    expected = np.mean([len(set(a) & set(b)) / 7 for a, b in zip(*near, strict=True)])
    assert mutual_knn(x, y, 7) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(ValueError, match="at least 1"):
        mutual_knn(x, y, 0)
    with pytest.raises(TooFewTokens):
        mutual_knn(x[:11], y[:11], 10)


def test_error_correlation_by_hand() -> None:
    assert error_correlation([1.0, 2, 3], torch.tensor([5.0, 7, 9])) == pytest.approx(1)
    assert error_correlation([1.0, 2, 3], [1.0, 0, 1]) == pytest.approx(0, abs=1e-12)
    errors = np.random.default_rng(0).random((2, 40))
    assert error_correlation(*errors) == pytest.approx(np.corrcoef(errors)[0, 1])
    for wrong, why in (
        ([1.0, 1, 1], "the same"),
        ([1.0, 2], "3 tokens or more"),
        ([1.0, math.nan, 2], "error 1 is not finite"),
        ([1.0, 2, 3, 4], "3 errors against 4"),
    ):
        with pytest.raises(ValueError, match=why):
            error_correlation([1.0, 2, 3], wrong)


def test_error_correlation_leaves_out_what_is_an_atom_of_either() -> None:
    errors = np.random.default_rng(1).random((2, 30))
    errors[0, [3, 8]] = errors[1, [8, 20]] = 0
    rest = [row for row in range(30) if row not in (3, 8, 20)]
    expected = np.corrcoef(errors[:, rest])[0, 1]
    assert error_correlation(*errors, torch.tensor([8, 3]), torch.tensor([8, 20])) == pytest.approx(expected)
    assert error_correlation(*errors) != pytest.approx(expected, abs=0.01)
    with pytest.raises(TooFewTokens, match="2 tokens are no atoms"):
        error_correlation(*errors, torch.arange(14), torch.arange(14, 28))
    with pytest.raises(ValueError, match="from 0 to 29"):
        error_correlation(*errors, torch.tensor([30]))


def test_transplant_by_hand() -> None:
    # The first two are atoms, and not counted; the third turns to the second atom; the last has another sign only.
    x = torch.tensor([[1.0, 0], [0, 1], [3, 1], [-1, 2], [2, 1]])
    y = torch.tensor([[1.0, 0], [0, 1], [1, -3], [-1, 2], [-2, 1]])
    assert transplant(x, y, torch.tensor([0, 1])) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="2 or more"):
        transplant(x, y, torch.tensor([0]))
    for atoms in (torch.tensor([0, 5]), torch.tensor([[0, 1]])):
        with pytest.raises(ValueError, match="atoms are rows of the activations"):
            transplant(x, y, atoms)
    with pytest.raises(TooFewTokens, match="2 tokens are no atoms"):
        transplant(x, y, torch.tensor([0, 1, 2]))


def test_shared_concordance_by_hand_and_by_the_plain_pursuit(x: torch.Tensor, y: torch.Tensor) -> None:
    def concordance(a: np.ndarray, b: np.ndarray) -> float:
        return 2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)

    atoms = torch.arange(5, 60)
    others = torch.cat([torch.arange(5), torch.arange(60, 300)])
    cosines, left = [], []
    for z in (x, y):
        unit = z / z.norm(dim=1, keepdim=True)
        residual = unit[others] - plain_pursuit(unit[atoms], unit[others], 5) @ unit[atoms]
        cosines.append((unit[others] @ unit[atoms].T).flatten().double().numpy())
        left.append(residual.norm(dim=1).double().numpy())
    expected = concordance(*cosines) * concordance(*left)
    assert shared_concordance(x, y, atoms, 5) == pytest.approx(expected, abs=1e-4)
    # Eight tokens over one atom: cosines and what is left are those of the angles; twice the angle is not the same.
    angles = torch.linspace(0.1, 0.7, 9)
    one, two = (torch.stack([torch.cos(k * angles), torch.sin(k * angles)], 1) for k in (1, 2))
    turn = (angles[1:] - angles[0]).double().numpy()
    by_hand = concordance(np.cos(turn), np.cos(2 * turn)) * concordance(np.sin(turn), np.sin(2 * turn))
    assert shared_concordance(one, two, torch.tensor([0])) == pytest.approx(by_hand, abs=1e-4)
    with pytest.raises(TooFewTokens, match="4 tokens are left"):
        shared_concordance(x, y, torch.arange(296))
    with pytest.raises(ValueError, match="rows"):
        shared_concordance(x, y, torch.tensor([300]))
    with pytest.raises(ValueError, match="no shared sources"):
        shared_concordance(x, y, torch.tensor([], dtype=torch.int64))


def test_shared_concordance_of_opposites_is_none(x: torch.Tensor) -> None:
    # Both what the cosines say and what is left disagree; two disagreements are not an agreement.
    angles = torch.linspace(0.1, 1.4, 40)
    one = torch.stack([torch.cos(angles), torch.sin(angles)], 1)
    other = torch.stack([torch.sin(angles), torch.cos(angles)], 1)
    one[0], other[0] = torch.tensor([1.0, 0]), torch.tensor([1.0, 0])
    assert shared_concordance(one, other, torch.tensor([0])) == 0


def test_shared_concordance_of_many_tokens_is_taken_of_evenly_spread_cosines(
    x: torch.Tensor, y: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms = torch.arange(20)
    whole = [shared.prepare(z, atoms) for z in (x, y)]
    monkeypatch.setattr(shared, "_CELLS", 20 * 100)
    some = [shared.prepare(z, atoms) for z in (x, y)]
    assert (len(whole[0].cosines.centred), len(some[0].cosines.centred)) == (280 * 20, 94 * 20)
    assert torch.equal(whole[0].left.centred, some[0].left.centred)
    assert shared.compare(*some) == pytest.approx(shared.compare(*whole), abs=0.05)


def test_shared_sources_are_those_that_most_dictionaries_chose() -> None:
    a, b, c = [[0, 1], [0, 2], [1, 0]], [[0, 2], [1, 0]], [[1, 0], [0, 3], [2, 2], [0, 1]]
    assert shared_sources(map(np.array, (a, b, c)), 3).tolist() == [[0, 1], [0, 2], [1, 0]]
    assert shared_sources(map(np.array, (a, b, c)), 1).tolist() == [[1, 0]]
    assert len(shared_sources(map(np.array, (a, b, c)))) == 2  # half of 3, which is their mean size, rounded to even
    with pytest.raises(ValueError, match="no sources"):
        shared_sources([])


def test_layer_matching_by_hand() -> None:
    first = np.array([[0.9, 0.1, 0.2], [0.3, 0.2, 0.8], [0.1, 0.1, 0.7]])
    assert matched_layers(first).tolist() == [1, 0, 1]
    assert matched_layers(first.T).tolist() == [1, 1, 0]
    found = layer_matching(both_ways({("a", "b"): first, ("a", "c"): np.eye(3)}))
    assert found.n_pairs == 4
    assert found.accuracy == pytest.approx((2 / 3 + 2 / 3 + 1 + 1) / 4)
    assert found.interval is not None
    low, high = found.interval
    assert 2 / 3 <= low < found.accuracy < high <= 1
    assert layer_matching(both_ways({("a", "b"): first})).interval is None  # two models say nothing of a third
    tied = np.array([[1.0, 1.0], [0.0, 0.0]])
    assert matched_layers(tied).tolist() == [0.5, 0.5]


def test_a_model_unlike_the_others_widens_the_interval_as_one_model() -> None:
    # Four models that match each other and a fifth that none does: 8 of 20 ordered pairs fail, but for one reason.
    shares = {pair: float("e" not in pair) for pair in permutations("abcde", 2)}
    low, high = mean_matching(shares).interval or (math.nan, math.nan)
    assert (low, high) == (pytest.approx(0.0, abs=0.25), 1.0)  # drawn not at all, or most of the time
    drawn = np.random.default_rng(1).choice(list(shares.values()), (2_000, 20)).mean(1)
    assert high - low > 1.5 * np.subtract(*np.quantile(drawn, [0.975, 0.025]))


def test_layers_of_models_of_different_depth_match_by_relative_depth() -> None:
    assert np.array_equal(same_depth(4, 4), np.eye(4, dtype=bool))
    # Of 6 against 8: 1/6 → 1/8, 2/6 → 3/8, 3/6 → 4/8, 4/6 → 5/8, 5/6 → 7/8, 1 → 1.
    assert [row.nonzero()[0].tolist() for row in same_depth(6, 8)] == [[0], [2], [3], [4], [6], [7]]
    # 2/8 lies between 1/6 and 2/6, 6/8 between 4/6 and 5/6: either will do.
    assert [row.nonzero()[0].tolist() for row in same_depth(8, 6)] == [[0], [0, 1], [1], [2], [3], [3, 4], [4], [5]]


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ({}, "no pairs"),
        ({("a", "a"): np.eye(2)}, "itself"),
        ({("a", "b"): np.ones(3)}, "layers by layers"),
        ({("a", "b"): np.full((2, 2), np.nan)}, "finite"),
        ({("a", "b"): np.eye(2) + 1j}, "similarity: complex"),
    ],
)
def test_matching_of_what_cannot_be_matched(pairs: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        layer_matching(pairs)


@pytest.mark.parametrize(
    "measure", [linear_cka, debiased, svcca, relative_representation, linear_regression, mutual_knn]
)
def test_ten_thousand_tokens_of_width_200(measure: Similarity) -> None:
    x, y = torch.randn(10_000, 200), torch.randn(10_000, 200)
    seconds, _ = timed(lambda: measure(x, y))
    assert seconds < 30  # about one on two free cores, but they may be busy
