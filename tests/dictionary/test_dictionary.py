import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from itda_core import Codes, DamagedError, Dictionary, DictionaryBuilder, UserError, build_dictionary
from itda_core.common.errors import MeanWarning
from itda_core.common.settings import DictionarySettings
from itda_core.pursuit.numba_backend import NumbaBackend
from itda_core.pursuit.reference import plain_pursuit
from itda_core.pursuit.torch_backend import TorchBackend
from tests.support.batches import in_batches
from tests.support.places import REPOSITORY
from tests.support.reference import error_of, pursue, sequential_build

GOLDEN = np.load(REPOSITORY / "tests" / "fixtures" / "published_algorithm.npz")


@pytest.fixture(scope="module", params="abc")
def golden(request: pytest.FixtureRequest) -> tuple[str, Dictionary]:
    x = torch.from_numpy(GOLDEN["activations"])
    n, length, d = x.shape
    places = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(length), indexing="ij"), -1)
    l0, threshold, per_batch, max_atoms = GOLDEN[f"{request.param}_config"]
    built = build_dictionary(
        in_batches(x.reshape(-1, d), places.reshape(-1, 2), int(per_batch) * length),
        l0=int(l0),
        threshold=threshold,
        error="cosine",
        scan="batch",
        init="frequent",
        max_atoms=int(max_atoms) or None,
    )
    return request.param, built


def test_golden_atoms(golden: tuple[str, Dictionary]) -> None:
    name, built = golden
    expected = {tuple(place) for place in GOLDEN[f"{name}_atom_indices"].tolist()}
    assert {tuple(place) for place in built.sources.tolist()} == expected
    assert len(built) == len(expected)


def test_golden_mean_errors(golden: tuple[str, Dictionary]) -> None:
    name, built = golden
    compared = 15 if name == "c" else 80  # the published loop stops at max_atoms
    ours = [growth.mean_error for growth in built.history[:compared]]
    assert np.abs(np.array(ours) - GOLDEN[f"{name}_mean_error"][:compared]).max() < 1e-7


def test_golden_codes(golden: tuple[str, Dictionary]) -> None:
    name, built = golden
    x = torch.from_numpy(GOLDEN["activations"][-2:]).reshape(64, -1)
    codes = built.encode(x)
    atom_at = {tuple(place): atom for atom, place in enumerate(built.sources.tolist())}
    ours, theirs = np.zeros((64, len(built))), np.zeros((64, len(built)))
    ours[codes.row, codes.atom] = codes.coefficient
    places = GOLDEN[f"{name}_atom_indices"]
    for (sequence, position, atom), value in zip(
        GOLDEN[f"{name}_codes_index"], GOLDEN[f"{name}_codes_value"], strict=True
    ):
        theirs[sequence * 32 + position, atom_at[tuple(places[atom])]] = value
    norm = x.norm(dim=1).numpy()[:, None]
    ours[np.abs(ours) < 1e-4 * norm] = 0
    theirs[np.abs(theirs) < 1e-4 * norm] = 0
    assert (np.abs(ours - theirs) / norm).max() < 1e-5


@pytest.mark.parametrize("max_atoms", [None, 17])
@pytest.mark.parametrize(("error", "threshold"), [("relative", 0.05), ("squared", 25.0), ("cosine", 0.002)])
def test_the_sequential_scan_admits_what_the_plain_one_does(
    activations: torch.Tensor, sources: torch.Tensor, error: str, threshold: float, max_atoms: int | None
) -> None:
    built = build_dictionary(
        in_batches(activations, sources, 100), l0=6, threshold=threshold, error=error, max_atoms=max_atoms
    )
    expected = sequential_build(activations.numpy(), 6, threshold, error, max_atoms)
    assert 10 < len(expected) < 400
    assert built.sources.tolist() == sources[expected].tolist()


@pytest.mark.parametrize("size", [1, 7, 255, 256, 257, 600])
def test_the_sequential_scan_does_not_depend_on_the_batches(
    activations: torch.Tensor, sources: torch.Tensor, size: int
) -> None:
    reference = build_dictionary(in_batches(activations, sources, 600), l0=6, threshold=0.05)
    built = build_dictionary(in_batches(activations, sources, size), l0=6, threshold=0.05)
    assert torch.equal(built.atoms, reference.atoms)
    assert torch.equal(built.sources, reference.sources)
    assert torch.equal(built.admission_errors, reference.admission_errors)
    assert [growth.rows for growth in built.history] == [min(end, 600) for end in range(size, 600 + size, size)]
    weights = np.diff([0, *(growth.rows for growth in built.history)])
    mean = np.average([growth.mean_error for growth in built.history], weights=weights)
    assert mean == pytest.approx(reference.history[-1].mean_error)


def test_near_repeats_close_by_are_judged_by_each_other(gram: None) -> None:
    # Runs of nearly one activation: whether a row becomes an atom hangs on the row before it, again and again.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 32, generator=generator).repeat_interleave(6, dim=0)
    x = x + torch.logspace(-3, 0, 240)[:, None] * torch.randn(240, 32, generator=generator)
    places = torch.stack([torch.zeros(240), torch.arange(240)], 1)
    built = build_dictionary([(x, places)], l0=4, threshold=0.1)
    assert built.sources[:, 1].tolist() == sequential_build(x.numpy(), 4, 0.1, "relative", None)


def test_a_row_judged_by_its_neighbour_takes_the_path_that_it_takes_later(gram: None) -> None:
    # The first rows leave weak atoms, then each pair of rows shares a strong direction that only the first one brings.
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(100, 256, generator=generator).repeat_interleave(2, dim=0)
    rest = torch.randn(300, 256, generator=generator)
    x = torch.cat([rest[:100], 20 * pairs + 4 * rest[100:]])
    places = torch.stack([torch.zeros(300), torch.arange(300)], 1)
    built = build_dictionary([(x, places)], l0=12, threshold=0.001)
    assert len(built) > 200
    for n in range(101, len(built), 3):
        row = x[built.sources[n, 1]][None]
        before = built.crop(n)
        left = row - before.decode(before.encode(row), 1)
        error = float(left.double().square().sum() / row.double().square().sum())
        assert error == pytest.approx(float(built.admission_errors[n]), rel=1e-4)


def test_without_a_gram_matrix_the_dictionary_is_the_same(
    activations: torch.Tensor, sources: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gram = build_dictionary(in_batches(activations, sources, 100), l0=6, threshold=0.05)
    monkeypatch.setattr("itda_core.pursuit.numba_backend.GRAM_LIMIT", 0)
    monkeypatch.setattr("itda_core.pursuit.numba_backend.FIRST_CAPACITY", 128)
    without = build_dictionary(in_batches(activations, sources, 100), l0=6, threshold=0.05)
    assert torch.equal(with_gram.atoms, without.atoms)
    assert torch.equal(with_gram.admission_errors, without.admission_errors)
    ours, theirs = without.encode(activations), with_gram.encode(activations)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("together", [1, 6, 48, 200])
def test_how_many_rows_are_judged_together_does_not_matter(
    activations: torch.Tensor, sources: torch.Tensor, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    expected = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    monkeypatch.setattr("itda_core.pursuit.numba_backend.NumbaBackend.in_order", together)
    built = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    assert torch.equal(built.atoms, expected.atoms)
    assert torch.equal(built.admission_errors, expected.admission_errors)


SETTINGS = [
    {"error": error, "scan": scan, "init": init, "threshold": threshold}
    for error, threshold in (("relative", 0.05), ("squared", 25.0), ("cosine", 0.002))
    for scan, init in (("sequential", "empty"), ("batch", "empty"), ("batch", "frequent"))
]


@pytest.mark.parametrize("scan", ["sequential", "batch"])
@pytest.mark.parametrize("method", ["matching", "orthogonal"])
def test_a_builder_goes_on_from_its_state_to_the_same_dictionary(
    activations: torch.Tensor, sources: torch.Tensor, scan: str, method: str
) -> None:
    init = "frequent" if scan == "batch" else "empty"
    settings = DictionarySettings(l0=8, threshold=0.05, scan=scan, init=init, method=method)
    whole, stopped = DictionaryBuilder(settings), DictionaryBuilder(settings)
    for x, labels in in_batches(activations, sources, 70):
        whole.add(x, labels)
        stopped = DictionaryBuilder.resume(settings, stopped.state(), torch.device("cpu"))  # before the first one, too
        stopped.add(x, labels)
    a, b = whole.finish(), stopped.finish()
    assert torch.equal(a.atoms, b.atoms)
    assert torch.equal(a.sources, b.sources)
    assert torch.equal(a.admission_errors.nan_to_num(-1), b.admission_errors.nan_to_num(-1))
    assert a.history == b.history


@pytest.mark.parametrize("d", [2, 3, 24])
def test_what_has_unit_norm_is_appended_as_it_is(d: int) -> None:
    rows = torch.randn(500, d, generator=torch.Generator().manual_seed(0))
    for made in (NumbaBackend, lambda d: TorchBackend(d, torch.device("cpu"))):
        once, twice = made(d), made(d)
        once.append(rows)
        twice.append(once.atoms.clone())
        assert torch.equal(once.atoms, twice.atoms)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_invariants(activations: torch.Tensor, sources: torch.Tensor, settings: dict) -> None:
    d = build_dictionary(in_batches(activations, sources, 100), l0=6, **settings)
    rows = d.sources[:, 0] * 50 + d.sources[:, 1]
    assert torch.allclose(d.atoms.norm(dim=1), torch.ones(len(d)), atol=1e-6)
    assert torch.allclose(d.atoms, torch.nn.functional.normalize(activations[rows], dim=1), atol=1e-6)
    assert len(set(rows.tolist())) == len(d)
    admitted = d.admission_errors[~d.admission_errors.isnan()]
    assert (admitted > settings["threshold"]).all()
    assert [growth.atoms for growth in d.history] == sorted(growth.atoms for growth in d.history)
    assert d.history[-1].atoms == len(d)
    codes = d.encode(activations)
    assert np.bincount(codes.row, minlength=600).max() <= 6
    assert (codes.coefficient != 0).all()
    decoded = d.decode(codes, len(activations))
    assert torch.allclose(decoded, plain_pursuit(d.atoms, activations, 6) @ d.atoms, atol=1e-3)
    for row in range(0, 600, 97):
        _, norms = pursue(d.atoms.numpy(), activations[row].numpy(), 6)
        x = activations[row : row + 1]
        ours = [float(x.pow(2).sum())]
        ours += [float((x - d.decode(d.encode(x, steps), 1)).pow(2).sum()) for steps in range(1, 7)]
        assert all(after <= before + 1e-6 * ours[0] for before, after in pairwise(ours))
        assert ours == pytest.approx(norms, rel=1e-3, abs=1e-3)


def test_the_batch_scan_judges_by_the_dictionary_before_the_batch() -> None:
    x = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    sources = torch.tensor([[0, 0], [0, 1], [0, 2]])
    assert build_dictionary([(x, sources)], scan="batch").sources.tolist() == sources.tolist()
    assert build_dictionary([(x, sources)]).sources.tolist() == [[0, 0], [0, 2]]


def test_history_by_hand() -> None:
    x = torch.tensor([[2.0, 0], [0, 3.0], [4.0, 0], [1.0, 1.0]])
    d = build_dictionary([(x[:2], torch.zeros(2, 2)), (x[2:], torch.zeros(2, 2))], l0=1, threshold=0.6)
    # Both first rows find nothing to explain them; (1, 1) is half explained by either atom.
    assert [tuple(growth) for growth in d.history] == [(2, 2, 1.0), (4, 2, pytest.approx(0.25))]


def test_the_squared_error_of_zero_rows_is_never_admitted(sources: torch.Tensor) -> None:
    d = build_dictionary([(torch.tensor([[0.0, 0], [1, 0]]), sources[:2])], threshold=0.0)
    assert d.sources.tolist() == [[0, 1]]


def test_exact_duplicates_of_strong_activations_are_not_admitted() -> None:
    x = torch.randn(200, 64, generator=torch.Generator().manual_seed(0)) * 400
    repeated = torch.cat([x, x, x])
    for scan in ("sequential", "batch"):
        batches = [(part, torch.zeros(len(part), 2)) for part in repeated.split(200)]
        assert len(build_dictionary(batches, l0=8, threshold=0.5, error="squared", scan=scan)) == 200


@pytest.mark.parametrize("scale", [1e-25, 1e15])
@pytest.mark.parametrize("scan", ["sequential", "batch"])
def test_atoms_have_unit_norm_at_any_scale(activations: torch.Tensor, scale: float, scan: str) -> None:
    d = build_dictionary([(activations * scale, torch.zeros(600, 2))], l0=6, threshold=0.05, scan=scan)
    assert torch.allclose(d.atoms.norm(dim=1), torch.ones(len(d)), atol=1e-6)


def test_max_atoms_stops_admission_and_not_the_history(activations: torch.Tensor, sources: torch.Tensor) -> None:
    for scan, init in (("sequential", "empty"), ("batch", "empty"), ("batch", "frequent")):
        d = build_dictionary(
            in_batches(activations, sources, 100), l0=6, threshold=0.01, scan=scan, init=init, max_atoms=30
        )
        assert len(d) == 30
        assert d.history[-1].rows == 600


def test_crop_keeps_the_first_atoms(activations: torch.Tensor, sources: torch.Tensor) -> None:
    d = build_dictionary(in_batches(activations, sources, 100), l0=6, threshold=0.05)
    cropped = d.crop(9)
    assert torch.equal(cropped.atoms, d.atoms[:9])
    assert torch.equal(cropped.sources, d.sources[:9])
    for bad in (0, len(d) + 1):
        with pytest.raises(ValueError, match="n_atoms"):
            d.crop(bad)


def test_save_and_load_round_trip(activations: torch.Tensor, sources: torch.Tensor, tmp_path: Path) -> None:
    d = build_dictionary(in_batches(activations, sources, 100), l0=6, threshold=0.05, scan="batch", init="frequent")
    d.save(tmp_path / "first")
    d.save(tmp_path / "second")
    loaded = Dictionary.load(tmp_path / "first")
    assert torch.equal(loaded.atoms, d.atoms)
    assert torch.equal(loaded.sources, d.sources)
    assert torch.allclose(loaded.admission_errors, d.admission_errors, rtol=0, atol=0, equal_nan=True)
    assert loaded.settings == d.settings
    assert loaded.history == d.history
    name = "atoms.safetensors"
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("damage", ["no manifest", "bad manifest", "wrong settings", "no atoms", "cut atoms"])
def test_a_damaged_folder_says_what_is_wrong(activations: torch.Tensor, tmp_path: Path, damage: str) -> None:
    build_dictionary([(activations, torch.zeros(600, 2))], l0=6, threshold=0.5).save(tmp_path)
    manifest, atoms = tmp_path / "manifest.json", tmp_path / "atoms.safetensors"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "bad manifest":
        manifest.write_text("{")
    elif damage == "wrong settings":
        manifest.write_text(manifest.read_text().replace('"relative"', '"absolute"'))
    elif damage == "no atoms":
        atoms.unlink()
    else:
        atoms.write_bytes(atoms.read_bytes()[:100])
    with pytest.raises(DamagedError) as caught:
        Dictionary.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_frequent_start_needs_the_batch_scan() -> None:
    with pytest.raises(ValueError, match='scan="batch"'):
        build_dictionary([], init="frequent")


@pytest.mark.parametrize(
    "setting", [{"l0": 0}, {"threshold": -1.0}, {"threshold": float("nan")}, {"error": "l1"}, {"max_atoms": 0}]
)
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(UserError):
        build_dictionary([], **setting)


def test_no_activations_at_all_are_refused() -> None:
    with pytest.raises(UserError, match="no activations"):
        build_dictionary([])


def test_bad_batches_are_refused() -> None:
    good = (torch.ones(2, 3), torch.zeros(2, 2))
    for bad in ((torch.ones(2, 4), torch.zeros(2, 2)), (torch.ones(2, 3), torch.zeros(3, 2))):
        with pytest.raises(ValueError, match=r"\[n, "):
            build_dictionary([good, bad])


def relative_error(x: torch.Tensor, d: Dictionary) -> float:
    return float((x - d.decode(d.encode(x), len(x))).square().sum() / x.square().sum())


def test_atoms_of_another_norm_are_scaled_so_that_encode_and_decode_agree(
    activations: torch.Tensor, sources: torch.Tensor
) -> None:
    d = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    norms = torch.linspace(0.1, 9, len(d))[:, None]
    for atoms in (7 * d.atoms, norms * d.atoms, (norms * d.atoms).double().numpy(), d.atoms.half()):
        made = Dictionary(atoms, d.sources, d.settings)
        assert torch.allclose(made.atoms, d.atoms, atol=1e-3)
        assert torch.allclose(made.atoms.norm(dim=1), torch.ones(len(d)), atol=1.1e-4)
        assert relative_error(activations, made) == pytest.approx(relative_error(activations, d), rel=1e-2)
    assert Dictionary(d.atoms, d.sources, d.settings).atoms.data_ptr() == d.atoms.data_ptr()  # as they are
    for row in (torch.zeros(24), torch.full((24,), torch.nan)):
        wrong = d.atoms.clone()
        wrong[3] = row
        with pytest.raises(ValueError, match="atom 3 is zero or not finite"):
            Dictionary(wrong, d.sources, d.settings)


def test_a_file_whose_atoms_are_not_of_unit_norm_is_damaged(activations: torch.Tensor, tmp_path: Path) -> None:
    build_dictionary([(activations, torch.zeros(600, 2))], l0=6, threshold=0.5).save(tmp_path)
    file = tmp_path / "atoms.safetensors"
    tensors = load_file(file)
    for atoms in (7 * tensors["atoms"], tensors["atoms"][0], 0 * tensors["atoms"]):
        save_file(tensors | {"atoms": atoms.contiguous()}, file)
        with pytest.raises(DamagedError, match="cannot be read"):
            Dictionary.load(tmp_path)


def test_arrays_lists_and_gradients_are_taken(activations: torch.Tensor, sources: torch.Tensor) -> None:
    d = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    codes = d.encode(activations)
    for x, places in (
        (activations.numpy(), sources.numpy()),
        (activations.double().tolist(), sources.tolist()),
        (activations.clone().requires_grad_(), sources.double()),
    ):
        built = build_dictionary([(x, places)], l0=np.int64(6), threshold=np.float32(0.05))
        assert torch.equal(built.sources, d.sources)
        assert all(map(np.array_equal, d.encode(x, l0=np.int64(6)), codes))
        assert built.settings.described() == d.settings.described() | {"threshold": float(np.float32(0.05))}
        assert type(built.settings.l0) is int
        made = Dictionary(d.atoms.tolist(), d.sources.numpy(), d.settings, d.admission_errors.tolist())
        assert all(map(np.array_equal, made.encode(x), codes))
        assert torch.equal(made.admission_errors, d.admission_errors)
        for given in (Codes(*(each.tolist() for each in codes)), tuple(map(torch.from_numpy, codes))):
            assert torch.equal(d.decode(given, np.int64(600)), d.decode(codes, 600))
        wide = codes._replace(row=codes.row.astype(float), coefficient=codes.coefficient.astype(float))
        assert torch.equal(d.decode(wide, 600), d.decode(codes, 600))
    assert len(build_dictionary([(activations, sources)], l0=torch.tensor(6), threshold=torch.tensor(0.05))) == len(d)
    coarse = activations.bfloat16()
    assert all(map(np.array_equal, d.encode(coarse), d.encode(coarse.float())))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda x, s: (x + 1j, s), "activations: complex"),
        (lambda x, s: (x > 0, s), "activations: true and false"),
        (lambda x, s: (x.to_sparse(), s), "activations cannot be read as an array of numbers"),
        (lambda x, s: (x.to("meta"), s), "activations cannot be read as an array of numbers"),
        (
            lambda x, s: (np.ma.masked_greater(x.numpy(), 1), s),
            "activations .* values are masked: leave those rows out",
        ),
        (lambda x, s: x, "batches: expected pairs of activations and sources, .*; got Tensor"),
        (lambda x, s: (x, s, s), "batches: expected pairs .*; got tuple"),
        (lambda x, s: (x, s + 0.5), "sources are integers"),
        (lambda x, s: (x, s * np.nan), "sources are integers"),
        (lambda x, s: (x, s > 0), "sources are integers"),
        (lambda x, s: (x, s + 0j), "sources: complex"),
        (lambda x, s: (x, -s - 1), "sources are 0 or more"),
        (lambda x, s: (x, s[:, 0]), "sources are integers"),
        (lambda x, s: (x, s[1:]), "sources are"),
        (lambda x, s: (x.double() * 1e200, s), "activation 0 has a value that is too large for float32"),
        (lambda x, s: (x.double() * 1e-200, s), "activation 0 is too small for float32"),
    ],
)
def test_what_is_no_activation_or_source_is_refused(
    activations: torch.Tensor, sources: torch.Tensor, change: Callable, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        build_dictionary([change(activations, sources)])


@pytest.mark.parametrize("more", [{}, {"center": "mean"}, {"n_atoms": 20}], ids=str)
def test_batches_that_are_no_pairs_are_refused(activations: torch.Tensor, sources: torch.Tensor, more: dict) -> None:
    for given in ((activations, sources), iter([activations]), None, 7):
        with pytest.raises(ValueError, match=r"^batches: expected pairs of activations and sources"):
            build_dictionary(given, **more)


def test_what_cannot_be_encoded_or_decoded_is_refused(activations: torch.Tensor, sources: torch.Tensor) -> None:
    d = build_dictionary([(activations, sources)], l0=6, threshold=0.05)
    codes = d.encode(activations)
    for call, why in (
        (lambda: d.encode(activations + 1j), "activations: complex"),
        (lambda: d.encode(activations[0]), r"expected activations \[n, 24\]"),
        (lambda: d.encode(activations, l0=3.0), "l0 is '3.0'"),
        (lambda: d.encode(activations, l0=True), "l0 is True"),
        (lambda: d.encode(activations, l0=0), "l0 is 0"),
        (lambda: d.decode(codes, 599), "row 0 to 599 where n is 599"),
        (lambda: d.decode(codes, 600.0), "n is '600.0'"),
        (lambda: d.decode(codes, -1), "n is -1"),
        (lambda: d.decode(Codes(codes.row, codes.atom + len(d), codes.coefficient), 600), "codes are of atom"),
        (lambda: d.decode(Codes(codes.row + 0.5, codes.atom, codes.coefficient), 600), "codes.row are whole numbers"),
        (lambda: d.decode(Codes(codes.row, codes.atom, 1j * codes.coefficient), 600), "codes.coefficient: complex"),
        (lambda: d.decode(Codes(codes.row[1:], codes.atom, codes.coefficient), 600), "three arrays of equal length"),
        (lambda: d.decode(codes.row, 600), "codes are three arrays, row, atom and coefficient: got ndarray"),
        (lambda: d.crop(2.0), "n_atoms is '2.0'"),
    ):
        with pytest.raises(ValueError, match=why):
            call()
    for wrong in (3.0, "3", True, None):
        with pytest.raises(UserError, match="l0"):
            build_dictionary([], l0=wrong)
    for wrong in ("0.3", True, [0.3], None, 1j):
        with pytest.raises(UserError, match=r"^threshold\b"):
            build_dictionary([], threshold=wrong)


@pytest.mark.parametrize("size", [50, 600])
def test_activations_that_are_mostly_their_mean_are_told(
    activations: torch.Tensor, sources: torch.Tensor, size: int
) -> None:
    centred = activations - activations.mean(0)
    massive = centred + 3_000 * torch.eye(24)[17]
    with pytest.warns(MeanWarning, match=r"100 % .* mean vector \(100 % in dimension 17\).* subtract the mean"):
        d = build_dictionary(in_batches(massive, sources, size), l0=6)
    assert len(d) == 1
    strength = centred.square().sum(1).mean().sqrt()
    with pytest.warns(MeanWarning, match="60 % of the energy of the activations is their mean vector, so"):
        build_dictionary(in_batches(centred + (1.5 / 24) ** 0.5 * strength, sources, size), l0=6)
    signs = torch.ones(600).index_fill_(0, torch.arange(0, 600, 2), -1)
    with pytest.warns(MeanWarning, match="100 % of the energy of the activations is in dimension 17, so"):
        build_dictionary(in_batches(centred + 3_000 * signs[:, None] * torch.eye(24)[17], sources, size), l0=6)
    few = (
        centred + 1e6 * (torch.arange(600) % 200 == 0)[:, None] * torch.eye(24)[17]
    )  # the mean is that of three tokens
    for large in (centred + 3_000 * signs[:, None] * torch.eye(24)[17], few):
        with pytest.warns(
            MeanWarning, match="100 % of the energy of an activation without the mean is in dimension 17"
        ):
            d = build_dictionary(in_batches(large, sources, size), l0=6, center="mean")
        assert len(d) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_dictionary(in_batches(centred + (0.3 / 24) ** 0.5 * strength, sources, size), l0=6)  # 23 %
        assert len(build_dictionary(in_batches(massive, sources, size), l0=6, threshold=0.05, center="mean")) > 24


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_the_share_of_the_mean_by_its_definition(
    activations: torch.Tensor, sources: torch.Tensor, scale: float
) -> None:
    x = (activations + 2) * scale
    settings = DictionarySettings(l0=6, threshold=0.5)
    builder = DictionaryBuilder(settings)
    for part, labels in in_batches(x, sources, 70):
        builder = DictionaryBuilder.resume(settings, builder.state(), torch.device("cpu"))
        builder.add(part, labels)
    exact = x.double()
    energy = exact.square().sum(0)
    spread = builder.energy.spread
    assert spread is not None
    assert spread.mean == pytest.approx(float(exact.mean(0).square().sum() * 600 / energy.sum()), rel=1e-4)
    assert spread.dimension == int(energy.argmax())
    assert spread.largest == pytest.approx(float(energy.max() / energy.sum()), rel=1e-4)


def test_a_reused_buffer_does_not_change_what_was_added(activations: torch.Tensor, sources: torch.Tensor) -> None:
    def reused() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        buffer, labels = torch.empty(50, 24), torch.empty(50, 2, dtype=torch.int64)
        for x, s in in_batches(activations, sources, 50):
            buffer.copy_(x)
            labels.copy_(s)
            yield buffer, labels

    expected = build_dictionary(in_batches(activations, sources, 50), l0=6, threshold=0.05)
    built = build_dictionary(reused(), l0=6, threshold=0.05)
    assert torch.equal(built.atoms, expected.atoms)
    assert torch.equal(built.sources, expected.sources)


def test_error_units_by_hand() -> None:
    # x = (3, 4) against the one atom (1, 0): x' = (3, 0).
    x, reconstruction = torch.tensor([[9.0, 0], [3.0, 4.0]]), np.array([3.0, 0])
    for unit, value in (("relative", 16 / 25), ("squared", 16.0), ("cosine", (2 - 2 * 0.6) / 2)):
        assert error_of(np.array([3.0, 4.0]), reconstruction, unit) == pytest.approx(value)
        below = build_dictionary([(x, torch.zeros(2, 2))], l0=1, threshold=value - 1e-3, error=unit)
        above = build_dictionary([(x, torch.zeros(2, 2))], l0=1, threshold=value + 1e-3, error=unit)
        assert (len(below), len(above)) == (2, 1)
        assert below.admission_errors[1].item() == pytest.approx(value)
