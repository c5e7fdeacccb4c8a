import numpy as np
import pytest
import torch
from reference import pursue

from itda_core import Dictionary, pursuit
from itda_core.config import DictionarySettings
from itda_core.pursuit import plain_pursuit


def dictionary(rows: list[list[float]], l0: int = 2) -> Dictionary:
    atoms = torch.nn.functional.normalize(torch.tensor(rows), dim=1)
    return Dictionary(atoms, torch.zeros(len(atoms), 2), DictionarySettings(l0))


def codes_of(d: Dictionary, x: list[float], l0: int | None = None) -> dict[int, float]:
    codes = d.encode(torch.tensor([x]), l0)
    return dict(zip(codes.atom.tolist(), codes.coefficient.tolist(), strict=True))


def test_an_orthonormal_dictionary_gives_the_coordinates_strongest_first() -> None:
    codes = dictionary([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]).encode(torch.tensor([[1.0, -5, 3]]))
    assert codes.atom.tolist() == [1, 2]
    assert codes.coefficient.tolist() == [-5, 3]


def test_two_oblique_atoms_by_hand() -> None:
    # x = (2, 1): atom 1 = (1, 1)/√2 correlates with 3/√2 ≈ 2.12 > 2, leaving (0.5, −0.5); then atom 0 takes 0.5.
    codes = codes_of(dictionary([[1.0, 0], [1, 1]]), [2.0, 1])
    assert codes == {1: pytest.approx(3 / 2**0.5), 0: pytest.approx(0.5)}


def test_an_atom_picked_twice_appears_once_with_the_sum() -> None:
    # Two oblique atoms alone: residuals shrink in turn, so the third pick is the first atom again.
    d = dictionary([[1.0, 0], [1, 1]])
    expected, _ = pursue(d.atoms.numpy(), np.array([2.0, 1]), 3)
    codes = codes_of(d, [2.0, 1], 3)
    assert len(codes) == 2
    assert codes == {atom: pytest.approx(c, abs=1e-6) for atom, c in expected.items()}


def test_nothing_left_to_explain_stops_early() -> None:
    assert codes_of(dictionary([[1.0, 0], [0, 1]], l0=2), [3.0, 0]) == {0: 3.0}


def test_a_zero_row_has_an_empty_code_and_a_zero_reconstruction() -> None:
    d = dictionary([[1.0, 0], [0, 1]])
    codes = d.encode(torch.tensor([[0.0, 0], [0, 2]]))
    assert codes.row.tolist() == [1]
    assert d.decode(codes, 2).tolist() == [[0, 0], [0, 2]]


def test_no_rows_give_empty_codes() -> None:
    codes = dictionary([[1.0, 0]]).encode(torch.zeros(0, 2))
    assert [len(part) for part in codes] == [0, 0, 0]


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("with_gram", [True, False])
def test_codes_equal_the_reference(activations: torch.Tensor, k: int, with_gram: bool) -> None:
    atoms = torch.nn.functional.normalize(activations[:60], dim=1).numpy()
    x = activations[60:].numpy()
    gram = pursuit.correlations(atoms, atoms) if with_gram else None
    codes = pursuit.encode(atoms, x, k, gram)
    dense = np.zeros((len(x), len(atoms)))
    dense[codes.row, codes.atom] = codes.coefficient
    for row, activation in enumerate(x):
        expected, _ = pursue(atoms, activation, k)
        wanted = np.zeros(len(atoms))
        wanted[list(expected)] = list(expected.values())
        assert np.abs(dense[row] - wanted).max() < 1e-4 * np.linalg.norm(activation)


def test_the_plain_algorithm_gives_the_same_codes(activations: torch.Tensor) -> None:
    atoms = torch.nn.functional.normalize(activations[:60], dim=1)
    codes = pursuit.encode(atoms.numpy(), activations.numpy(), 8, pursuit.correlations(atoms.numpy(), atoms.numpy()))
    plain = plain_pursuit(atoms, activations, 8).numpy()
    dense = np.zeros_like(plain)
    dense[codes.row, codes.atom] = codes.coefficient
    assert np.abs(dense - plain).max() < 1e-4


def test_a_row_has_the_same_code_whatever_rows_stand_around_it(activations: torch.Tensor) -> None:
    atoms = torch.nn.functional.normalize(activations[:300], dim=1).numpy()
    gram = pursuit.correlations(atoms, atoms)
    whole = pursuit.encode(atoms, activations.numpy(), 12, gram)
    for start, stop in ((0, 1), (3, 10), (255, 257), (100, 600)):
        part = pursuit.encode(atoms, activations[start:stop].numpy(), 12, gram)
        within = (whole.row >= start) & (whole.row < stop)
        assert np.array_equal(part.row + start, whole.row[within])
        assert np.array_equal(part.atom, whole.atom[within])
        assert np.array_equal(part.coefficient, whole.coefficient[within])


def test_concurrent_threads_get_the_same_codes(activations: torch.Tensor) -> None:
    from concurrent.futures import ThreadPoolExecutor

    atoms = torch.nn.functional.normalize(activations[:100], dim=1).numpy()
    gram = pursuit.correlations(atoms, atoms)
    expected = pursuit.encode(atoms, activations.numpy(), 10, gram)
    with ThreadPoolExecutor(8) as pool:
        for codes in pool.map(lambda _: pursuit.encode(atoms, activations.numpy(), 10, gram), range(16)):
            assert all(np.array_equal(a, b) for a, b in zip(codes, expected, strict=True))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([[1.0, float("nan")]]), "not finite"),
        (torch.tensor([[float("inf"), 1.0]]), "not finite"),
        (torch.zeros(3, 5), r"\[n, 2\]"),
        (torch.zeros(2), r"\[n, 2\]"),
    ],
)
def test_bad_activations_are_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dictionary([[1.0, 0]]).encode(x)


def test_an_l0_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        dictionary([[1.0, 0]]).encode(torch.ones(1, 2), 0)
