"""Coefficients fitted anew: by hand, as numpy's least squares has them, and never worse than pursuit's."""

import numpy as np
import pytest
import torch

from itda_core import Dictionary
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Codes
from itda_core.pursuit.refit import RIDGE, _fit_on_device, refit


def dictionary(atoms: torch.Tensor, l0: int) -> Dictionary:
    unit = torch.nn.functional.normalize(atoms, dim=1)
    return Dictionary(unit, torch.zeros(len(unit), 2), DictionarySettings(l0=l0))


def test_two_oblique_atoms_by_hand() -> None:
    # x = (2, 1) over (1, 0) and (1, 1)/√2. Pursuit takes the second first: c = 3/√2, leaving (½, −½); then ½ of the
    # first, leaving (0, −½), and is done. The two span the plane: x = 1·(1, 0) + √2·(1, 1)/√2.
    d = dictionary(torch.tensor([[1.0, 0], [1, 1]]), 2)
    x = torch.tensor([[2.0, 1]])
    assert d.encode(x).coefficient == pytest.approx([3 / 2**0.5, 0.5])
    found = d.encode(x, method="refitted")
    assert found.atom.tolist() == [1, 0]
    assert found.coefficient == pytest.approx([2**0.5, 1.0], abs=1e-5)
    assert torch.allclose(d.decode(found, 1), x, atol=1e-5)


def test_it_is_least_squares_on_the_same_atoms(activations: torch.Tensor) -> None:
    d, x = dictionary(activations[:100], 6), activations[100:]
    pursued, found = d.encode(x), d.encode(x, method="refitted")
    assert np.array_equal(found.row, pursued.row) and np.array_equal(found.atom, pursued.atom)
    for row in range(0, len(x), 37):
        here = found.row == row
        basis = d.atoms[torch.from_numpy(found.atom[here])].double().numpy()
        expected = np.linalg.lstsq(basis.T, x[row].double().numpy())[0]
        assert found.coefficient[here] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    left = [(x - d.decode(codes, len(x))).pow(2).sum(1) for codes in (pursued, found)]
    assert (left[1] <= left[0] * (1 + 1e-5)).all()
    assert left[1].sum() < 0.97 * left[0].sum()


def test_atoms_that_are_nearly_the_same_keep_small_coefficients() -> None:
    # Least squares alone would take 10⁵ and −10⁵ of the two to make up for the third direction.
    near = torch.nn.functional.normalize(torch.tensor([[1.0, 1e-5, 0], [1, 0, 0]]), dim=1)
    x = torch.tensor([[1.0, 1, 0]])
    codes = Codes(np.zeros(2, np.int64), np.arange(2), np.array([0.7, 0.3], np.float32))
    found = refit(codes, x, near)
    assert np.abs(found.coefficient).max() < 20
    error = [float((x - torch.from_numpy(c.coefficient)[None] @ near).pow(2).sum()) for c in (codes, found)]
    assert error[1] <= error[0] + RIDGE * float((codes.coefficient**2).sum()) + 1e-6


def test_rows_without_a_term_and_no_rows_at_all(activations: torch.Tensor) -> None:
    d = dictionary(activations[:20], 3)
    x = activations[20:24].clone()
    x[[0, 2]] = 0
    found = d.encode(x, method="refitted")
    assert set(found.row.tolist()) == {1, 3}
    alone = d.encode(x[3:], method="refitted")
    assert found.coefficient[found.row == 3] == pytest.approx(alone.coefficient, rel=1e-6)
    assert len(d.encode(x[:0], method="refitted").row) == 0
    assert len(d.encode(x[:1], method="refitted").row) == 0


def test_blocks_of_rows_change_nothing(activations: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    d = dictionary(activations[:50], 5)
    whole = d.encode(activations, method="refitted")
    monkeypatch.setattr("itda_core.pursuit.refit._VALUES_AT_ONCE", 24 * 5 * 7)
    parts = d.encode(activations, method="refitted")
    assert np.array_equal(whole.atom, parts.atom)
    assert parts.coefficient == pytest.approx(whole.coefficient, rel=1e-5, abs=1e-6)


def test_a_dictionary_that_was_built_so_encodes_so(activations: torch.Tensor, sources: torch.Tensor, tmp_path) -> None:
    from itda_core import build_dictionary

    d, plain = (
        build_dictionary([(activations, sources)], l0=4, threshold=0.1, method=method)
        for method in ("refitted", "matching")
    )
    assert torch.equal(d.atoms, plain.atoms)  # what is admitted is judged by pursuit's own coefficients
    d.save(tmp_path)
    found, expected = Dictionary.load(tmp_path).encode(activations), plain.encode(activations, method="refitted")
    assert np.array_equal(found.coefficient, expected.coefficient)


def test_torch_fits_what_the_compiled_loops_fit(activations: torch.Tensor) -> None:
    d = dictionary(activations[:50], 5)
    x = activations[50:].clone()
    x[3] = 0  # a row without a term among others
    codes = d.encode(x)
    found = np.empty_like(codes.coefficient)
    bounds = np.searchsorted(codes.row, np.arange(len(x) + 1))
    _fit_on_device(bounds, 5, codes.atom, x, d.atoms, found)
    assert refit(codes, x, d.atoms).coefficient == pytest.approx(found, rel=1e-5, abs=1e-6)
