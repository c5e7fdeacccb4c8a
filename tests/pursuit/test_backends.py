import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from itda_core import Dictionary, build_dictionary
from itda_core.common.settings import METHODS, DictionarySettings
from itda_core.common.types import Codes
from itda_core.pursuit import numba_backend, torch_backend
from itda_core.pursuit.protocol import encode
from itda_core.pursuit.reference import plain_pursuit
from tests.support.reference import pursue


def dictionary(rows: list[list[float]], l0: int = 2) -> Dictionary:
    atoms = torch.nn.functional.normalize(torch.tensor(rows), dim=1)
    return Dictionary(atoms, torch.zeros(len(atoms), 2), DictionarySettings(l0=l0))


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


def of_rows(x: torch.Tensor, l0: int = 8, method: str = "matching") -> Dictionary:
    atoms = torch.nn.functional.normalize(x, dim=1)
    return Dictionary(atoms, torch.zeros(len(x), 2), DictionarySettings(l0=l0, method=method))


def dense(codes: Codes, n: int, n_atoms: int) -> np.ndarray:
    out = np.zeros((n, n_atoms))
    out[codes.row, codes.atom] = codes.coefficient
    return out


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.usefixtures("gram")
def test_codes_equal_the_reference(activations: torch.Tensor, k: int) -> None:
    d, x = of_rows(activations[:60], k), activations[60:]
    found = dense(d.encode(x), len(x), 60)
    for row, activation in enumerate(x.numpy()):
        expected, _ = pursue(d.atoms.numpy(), activation, k)
        wanted = np.zeros(60)
        wanted[list(expected)] = list(expected.values())
        assert np.abs(found[row] - wanted).max() < 1e-5 * np.linalg.norm(activation)


def test_the_plain_algorithm_gives_the_same_codes(activations: torch.Tensor) -> None:
    d = of_rows(activations[:60])
    found = dense(d.encode(activations), len(activations), 60)
    assert np.abs(found - plain_pursuit(d.atoms, activations, 8).numpy()).max() < 1e-4


@pytest.mark.usefixtures("gram")
def test_a_row_has_the_same_code_whatever_rows_stand_around_it(activations: torch.Tensor) -> None:
    d = of_rows(activations[:300], 12)
    whole = d.encode(activations)
    for start, stop in ((0, 1), (3, 10), (255, 257), (100, 600)):
        part = d.encode(activations[start:stop])
        within = (whole.row >= start) & (whole.row < stop)
        assert np.array_equal(part.row + start, whole.row[within])
        assert np.array_equal(part.atom, whole.atom[within])
        assert np.array_equal(part.coefficient, whole.coefficient[within])


def test_codes_are_the_same_bits_with_the_whole_gram_matrix_and_with_parts_of_it(
    activations: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = of_rows(activations[:300], 12).encode(activations)
    monkeypatch.setattr(numba_backend, "GRAM_LIMIT", 2 * 384 * 40)
    parts = of_rows(activations[:300], 12).encode(activations)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_close_calls_are_decided_by_exact_correlations() -> None:
    # Atoms that differ by less than 16 bits can tell, in every direction: the screen alone would pick at random.
    generator = torch.Generator().manual_seed(0)
    base = torch.nn.functional.normalize(torch.randn(40, 64, generator=generator), dim=1)
    atoms = torch.cat([base + 2e-5 * torch.randn(40, 64, generator=generator) for _ in range(8)])
    x = torch.randn(50, 40, generator=generator) @ base * 30
    d = of_rows(atoms, 3)
    found = dense(d.encode(x), len(x), len(atoms))
    for row, activation in enumerate(x.numpy()):
        expected, _ = pursue(d.atoms.numpy(), activation, 3)
        assert np.argmax(np.abs(found[row])) == max(expected, key=lambda atom: abs(expected[atom]))


@pytest.mark.usefixtures("gram")
def test_equal_atoms_are_picked_in_order(activations: torch.Tensor) -> None:
    d = of_rows(activations[:50].repeat(4, 1), 6)
    assert d.encode(activations).atom.max() < 50


@pytest.mark.parametrize("width", [16, 64, 100, 256, 768])
def test_an_activation_opposite_to_an_atom_picks_it(width: int) -> None:
    x = torch.randn(200, width, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, torch.ones(1, width)])
    for sign in (1, -1):
        codes = of_rows(x, 1).encode(sign * x)
        assert codes.atom.tolist() == list(range(201))
        assert np.allclose(codes.coefficient, sign * x.norm(dim=1).numpy(), rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("power", [-80, 60, 100])
def test_codes_at_any_scale(activations: torch.Tensor, method: str, power: int) -> None:
    d = of_rows(activations[:100], 6, method)
    expected, found = d.encode(activations), d.encode(activations * 2.0**power)
    assert np.array_equal(found.atom, expected.atom)
    assert np.allclose(found.coefficient * np.float64(2) ** -power, expected.coefficient, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_machine_without_its_instructions_gets_the_same_picks(activations: torch.Tensor, tmp_path: Path) -> None:
    save_file({"atoms": activations[:100].clone(), "x": activations}, tmp_path / "in.safetensors")
    script = (
        "import sys, numpy, torch; from safetensors.torch import load_file; from itda_core import *\n"
        "from itda_core.common.settings import DictionarySettings as S\n"
        "t = load_file(sys.argv[1]); d = Dictionary(torch.nn.functional.normalize(t['atoms'], dim=1), "
        "torch.zeros(100, 2), S(l0=8))\n"
        "numpy.savez(sys.argv[2], *d.encode(t['x']))"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script, str(tmp_path / "in.safetensors"), str(tmp_path / "out.npz")]
    subprocess.run(command, env=environment, check=True)
    out = np.load(tmp_path / "out.npz")
    expected = of_rows(activations[:100]).encode(activations)
    assert np.array_equal(out["arr_0"], expected.row)
    assert np.array_equal(out["arr_1"], expected.atom)
    assert np.allclose(out["arr_2"], expected.coefficient, rtol=1e-4, atol=1e-4)


def test_concurrent_threads_get_the_same_codes(activations: torch.Tensor, gram: None) -> None:
    from concurrent.futures import ThreadPoolExecutor

    d = of_rows(activations[:100], 10)
    expected = d.encode(activations)
    with ThreadPoolExecutor(8) as pool:
        for codes in pool.map(lambda _: d.encode(activations), range(16)):
            assert all(np.array_equal(a, b) for a, b in zip(codes, expected, strict=True))


def encode_in_another_process(d: Dictionary, x: torch.Tensor) -> Codes:
    return d.encode(x)


@pytest.mark.slow
def test_spawned_processes_get_the_same_codes(activations: torch.Tensor) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    d = of_rows(activations[:100], 10)
    expected = d.encode(activations)  # so that there is a Gram matrix to leave behind
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        codes = pool.submit(encode_in_another_process, d, activations).result()
    assert all(np.array_equal(a, b) for a, b in zip(codes, expected, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_matter(activations: torch.Tensor, sources: torch.Tensor, threads: int) -> None:
    import numba

    expected, built = of_rows(activations[:200], 10).encode(activations), build_dictionary([(activations, sources)])
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        codes, again = of_rows(activations[:200], 10).encode(activations), build_dictionary([(activations, sources)])
    finally:
        numba.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(codes, expected, strict=True))
    assert torch.equal(again.atoms, built.atoms)
    assert torch.equal(again.admission_errors, built.admission_errors)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("with_gram", [True, False])
def test_the_torch_path_picks_what_the_compiled_loops_do(
    activations: torch.Tensor, monkeypatch: pytest.MonkeyPatch, signed: bool, with_gram: bool
) -> None:
    if not with_gram:
        monkeypatch.setattr(torch_backend, "_gram_room", lambda device: 0)
    on_torch = torch_backend.TorchBackend(activations.shape[1], torch.device("cpu"), signed)
    compiled = numba_backend.NumbaBackend(activations.shape[1], signed)
    for made in (on_torch, compiled):
        made.append(activations[:200])
    ours, theirs = (dense(encode(made, activations, 10), len(activations), 200) for made in (on_torch, compiled))
    assert np.abs(ours - theirs).max() < 1e-5 * activations.norm(dim=1).max()


def test_the_torch_path_builds_the_same_dictionary(
    activations: torch.Tensor, sources: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    cpu = torch.device("cpu")
    monkeypatch.setattr(
        "itda_core.pursuit.protocol.pursuit_backend",
        lambda d_model, device, method: torch_backend.TorchBackend(d_model, cpu),
    )
    on_torch = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    assert torch.equal(on_torch.sources, compiled.sources)
    assert torch.allclose(on_torch.atoms, compiled.atoms, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_dictionary_and_codes(activations: torch.Tensor, sources: torch.Tensor) -> None:
    here = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    there = build_dictionary([(activations.cuda(), sources)], l0=6, threshold=0.05)
    assert torch.equal(here.sources, there.sources)
    ours, theirs = (dense(d.encode(x), 600, len(d)) for d, x in ((here, activations), (there, activations.cuda())))
    assert np.abs(ours - theirs).max() < 1e-4


def test_orthogonal_pursuit_equals_scikit_learn(activations: torch.Tensor) -> None:
    from sklearn.linear_model import orthogonal_mp

    d = of_rows(activations[:100])
    x = activations[100:160]
    found = dense(d.encode(x, 5, method="orthogonal"), len(x), 100)
    expected = orthogonal_mp(d.atoms.T.double().numpy(), x.T.double().numpy(), n_nonzero_coefs=5).T
    assert np.abs(found - expected).max() < 1e-3
    left = {m: (x - d.decode(d.encode(x, 5, method=m), len(x))).norm(dim=1).mean() for m in ("matching", "orthogonal")}
    assert left["orthogonal"] < left["matching"]


def test_orthogonal_pursuit_never_picks_an_atom_twice_and_stops_at_the_width() -> None:
    d = dictionary([[1.0, 0], [1, 1], [1, 1]])
    codes = d.encode(torch.tensor([[2.0, 1], [0, 0]]), 3, method="orthogonal")
    assert dict(zip(codes.atom.tolist(), codes.coefficient.tolist(), strict=True)) == {
        1: pytest.approx(2**0.5),
        0: pytest.approx(1.0),
    }


@pytest.mark.usefixtures("gram")
def test_nonnegative_pursuit_by_the_definition(activations: torch.Tensor) -> None:
    d = of_rows(activations[:60])
    x = activations[60:120]
    found = dense(d.encode(x, 6, method="nonnegative"), len(x), 60)
    assert (found >= 0).all()
    for row, activation in enumerate(x.double().numpy()):
        residual, wanted = activation.copy(), np.zeros(60)
        for _ in range(6):
            correlation = d.atoms.double().numpy() @ residual
            best = int(correlation.argmax())
            if correlation[best] <= 0:
                break
            wanted[best] += correlation[best]
            residual -= correlation[best] * d.atoms[best].double().numpy()
        assert np.abs(found[row] - wanted).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["orthogonal", "nonnegative"])
def test_a_dictionary_is_built_by_the_method_that_it_encodes_with(
    activations: torch.Tensor, sources: torch.Tensor, method: str
) -> None:
    d = build_dictionary([(activations, sources)], l0=6, threshold=0.05, method=method)
    assert d.settings.method == method
    admitted: list[int] = []
    for row in range(120):  # the definition: a row is judged by those admitted before it
        x = activations[row : row + 1]
        error = 1.0
        if admitted:
            before = of_rows(activations[admitted], 6, method)
            error = float((x - before.decode(before.encode(x), 1)).pow(2).sum() / x.pow(2).sum())
        if error > 0.05:
            admitted.append(row)
    rows = (d.sources[:, 0] * 50 + d.sources[:, 1]).tolist()
    assert [row for row in rows if row < 120] == admitted


def test_an_unknown_method_is_refused(activations: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="matching, orthogonal, nonnegative"):
        of_rows(activations[:9]).encode(activations, method="basis")


def test_a_dictionary_narrower_than_l0_still_gives_the_plain_codes(activations: torch.Tensor) -> None:
    d = of_rows(activations[:3], 9)
    found = dense(d.encode(activations), len(activations), 3)
    assert np.abs(found - plain_pursuit(d.atoms, activations, 9).numpy()).max() < 1e-4


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
