"""The plain algorithm, and `itda bench`: small runs of the whole."""

import json
import math
import re
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from itda_core import UserError, build_dictionary
from itda_core.benchmarks.activations import Activations, find_activations, read_activations
from itda_core.benchmarks.capture.results import CaptureBench
from itda_core.benchmarks.capture.run import PlainHooks, bench_capture
from itda_core.benchmarks.capture.table import capture_table
from itda_core.benchmarks.machine import measure_machine, timed
from itda_core.benchmarks.pursuit.memory import encode_memory, restart_peak
from itda_core.benchmarks.pursuit.results import PursuitBench, PursuitReport
from itda_core.benchmarks.pursuit.run import batches_of, bench_pursuit, find_threshold, iou
from itda_core.benchmarks.pursuit.table import pursuit_table
from itda_core.benchmarks.pursuit.wide import WideBench, bench_full, wide_atoms
from itda_core.benchmarks.scale.results import ScaleBench
from itda_core.benchmarks.scale.run import WideSpace, bench_scale
from itda_core.benchmarks.scale.table import scale_table
from itda_core.cli.command_line import main
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.corpus.store import Corpus, ingest
from itda_core.corpus.windows import make_windows
from itda_core.models.bundled import model_folder
from itda_core.models.model import load_model
from itda_core.pursuit.reference import plain_build, plain_pursuit
from tests.support.corpora import write_documents

pytestmark = pytest.mark.slow

SMALL = PursuitBench(
    sizes=(60, 150),
    l0=6,
    batch_rows=100,
    plain_work=20_000,
    repeats=1,
    encode_rows=120,
    plain_encode_rows=50,
    sklearn_rows=5,
    sequential_atoms=150,
    identical_batches=(1, 7, 300),
    identical_rows=200,
)


class Products(TorchDispatchMode):
    """Shapes of the matrix products done meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.mm.default:
            self.shapes.append((*args[0].shape, args[1].shape[1]))
        return func(*args, **(kwargs or {}))


def ignored(line: str) -> None:
    """Nobody reads the progress."""


@pytest.fixture(scope="module")
def data(activations: torch.Tensor, sources: torch.Tensor) -> Activations:
    return Activations(activations, sources, "fixture")


@pytest.fixture(scope="module")
def report(data: Activations) -> PursuitReport:
    return bench_pursuit(data, SMALL, ignored)


def test_the_plain_pursuit_takes_a_whole_product_per_step_whatever_is_left() -> None:
    with Products() as products:
        codes = plain_pursuit(torch.eye(3), torch.tensor([[1.0, -5, 3], [0, 0, 0]]), 7)
    assert codes.tolist() == [[1, -5, 3], [0, 0, 0]]
    assert products.shapes == [(2, 3, 3)] * 7


def test_the_plain_build_reconstructs_from_dense_codes(activations: torch.Tensor, sources: torch.Tensor) -> None:
    with Products() as products:
        atoms, *_ = plain_build(batches_of(activations[:200], sources[:200], 100), 4, 0.05)
    after_first = products.shapes[5][2]
    assert products.shapes == [(100, 24, 24)] * 4 + [(100, 24, 24)] + [(100, 24, after_first)] * 4 + [
        (100, after_first, 24)
    ]
    assert 24 < after_first < len(atoms)


@pytest.mark.parametrize(("error", "threshold"), [("relative", 0.05), ("squared", 15.0), ("cosine", 0.002)])
def test_the_plain_build_gives_the_published_dictionary(data: Activations, error: str, threshold: float) -> None:
    x = data.x.clone()
    x[5:9] = x[4]  # a frequent row, so that the frequent start has an order
    atoms, sources, errors = plain_build(batches_of(x, data.sources, 100), 6, threshold, error)
    built = build_dictionary(batches_of(x, data.sources, 100), 6, threshold, error=error, scan="batch", init="frequent")
    assert 30 < len(atoms) < 500
    assert sources.tolist() == built.sources.tolist()
    assert sources[0].tolist() == data.sources[4].tolist()
    assert torch.allclose(atoms, built.atoms, atol=1e-6)
    assert errors == pytest.approx([growth.mean_error for growth in built.history], rel=1e-4)


def test_the_plain_build_passes_over_zero_rows_and_refuses_what_it_does_not_know(data: Activations) -> None:
    x = data.x[:100].clone()
    x[3:20] = 0
    atoms, sources, _ = plain_build(batches_of(x, data.sources[:100], 50), 4, 0.01)
    assert torch.isfinite(atoms).all()
    assert not set(map(tuple, data.sources[3:20].tolist())) & set(map(tuple, sources.tolist()))
    with pytest.raises(ValueError, match="squared"):
        plain_build([], 4, 0.1, "absolute")
    with pytest.raises(ValueError, match="no batches"):
        plain_build([], 4, 0.1)


def test_a_small_run_of_the_whole(report: PursuitReport) -> None:
    answer = json.loads(json.dumps(report.as_json(), allow_nan=False))
    first, second = answer["rows"]
    assert abs(first["atoms"] - 60) <= 3
    assert abs(second["atoms"] - 150) <= 7
    assert (first["build_rows"], second["build_rows"]) == (333, 225)  # 20,000 // 60; 1.5 × 150
    for row in (first, second):
        assert row["iou"] == 1
        assert row["build_ratio"] == pytest.approx(row["plain_build_seconds"] / row["fast_build_seconds"])
        assert row["encode_ratio"] == pytest.approx(row["fast_rows_per_second"] / row["plain_rows_per_second"])
        assert all(value is None or (math.isfinite(value) and value >= 0) for value in row.values())
    scans = answer["sequential"]
    assert scans["sequential_identical"]
    assert scans["rows"] == 225
    assert 0 < scans["sequential_atoms"] <= scans["batch_atoms"]
    assert set(answer["machine"]) == {"cores", "bandwidth_gb_s", "product_gflop_s"}
    assert answer["activations"] == {"origin": "fixture", "rows": 600, "d_model": 24}
    assert answer["left_out"] == []
    table = pursuit_table(report)
    assert table.count(" × ") >= 5
    assert "the same bytes" in table


def test_sizes_out_of_reach_are_left_out_and_said(data: Activations) -> None:
    said: list[str] = []
    report = bench_pursuit(data, replace(SMALL, sizes=(60, 9000)), said.append)
    assert any(line.startswith("60 atoms: looking") for line in said)
    assert len(report.rows) == 1
    assert report.left_out == [9000]
    assert "9,000" in pursuit_table(report)
    with pytest.raises(UserError, match="13,620 or more"):
        bench_pursuit(data, replace(SMALL, sizes=(9000,)), ignored)


def test_a_size_that_no_threshold_gives(data: Activations) -> None:
    same = torch.ones(400, 24)
    with pytest.raises(UserError, match="no threshold"):
        find_threshold(same, data.sources[:400], 100, SMALL)


def test_the_full_run_adds_a_wide_dictionary_and_memory(data: Activations, report: PursuitReport) -> None:
    sizes = WideBench(atoms=700, rows=100, plain_rows=20, memory_atoms=300, memory_rows=1000)
    full = bench_full(data, SMALL, sizes, ignored)
    assert (full.wide.atoms, full.wide.atoms_made) == (700, 700 - 480)
    assert full.wide.encode_ratio > 0
    if full.memory is not None:
        assert (full.memory.atoms, full.memory.rows) == (300, 1000)
        assert full.memory.gram_mb == pytest.approx(300 * 300 * 2 / 1e6)
        assert full.memory.codes_mb > 0.02
    assert "220 of them made" in pursuit_table(report, full)


def test_wide_atoms_are_unit_norm_and_real_ones_come_first(activations: torch.Tensor) -> None:
    atoms, made = wide_atoms(activations[:50], 80)
    assert made == 30
    assert torch.allclose(atoms.norm(dim=1), torch.ones(80))
    assert torch.equal(atoms[:50], torch.nn.functional.normalize(activations[:50], dim=1))
    assert wide_atoms(activations, 80)[1] == 0


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell a process's memory")
def test_a_peak_that_cannot_be_let_go_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    held = restart_peak()
    assert held is not None and held > 10**7
    monkeypatch.setattr(
        "itda_core.benchmarks.pursuit.memory._CLEAR", Path("/proc/self/status")
    )  # which cannot be written
    assert restart_peak() is None


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell a process's memory")
def test_memory_grows_with_what_is_encoded(activations: torch.Tensor) -> None:
    torch.ones(100_000_000).sum()  # 400 MB here, which the measured process must not be blamed for, nor hide behind
    atoms = torch.nn.functional.normalize(activations[:30], dim=1)
    few = encode_memory(atoms, activations, 6)
    many = encode_memory(atoms, activations, 6, 200_000)
    assert few is not None
    assert many is not None
    assert (few.rows, many.rows) == (600, 200_000)
    assert few.peak_mb < 40
    assert many.peak_mb > many.codes_mb > 10


def test_measures() -> None:
    machine = measure_machine(64)
    assert machine.cores >= 1
    assert machine.bandwidth_gb_s > 0.1
    assert machine.product_gflop_s > 0.1
    calls: list[int] = []
    seconds, last = timed(lambda: calls.append(1) or len(calls), 3)
    assert (len(calls), last) == (3, 3)
    assert seconds >= 0
    assert iou(torch.tensor([[0, 1], [0, 2]]), torch.tensor([[0, 2], [1, 0]])) == pytest.approx(1 / 3)


def test_activations_from_a_file(data: Activations, tmp_path: Path) -> None:
    file = tmp_path / "some.safetensors"
    save_file({"activations": data.x.half(), "sources": data.sources.int()}, file)
    read = find_activations(file, ignored)
    assert (read.x.dtype, read.sources.dtype, read.origin) == (torch.float32, torch.int64, "some.safetensors")
    assert torch.equal(read.sources, data.sources)
    save_file({"activations": data.x}, file)
    assert read_activations(file).sources[:3].tolist() == [[0, 0], [0, 1], [0, 2]]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (None, "cannot be read"),
        ({"x": torch.ones(3, 2)}, "named activations"),
        ({"activations": torch.ones(3, 2, 1)}, "named activations"),
        ({"activations": torch.ones(3, 2).int()}, "named activations"),
        ({"activations": torch.ones(3, 2), "sources": torch.ones(2, 2)}, r"\[3, 2\]"),
        ({"activations": torch.full((3, 2), math.inf)}, "not finite"),
        ({"activations": torch.ones(30, 2)}, "or more"),
    ],
)
def test_mistakes_in_a_file_exit_2_with_one_line(
    tensors: dict[str, torch.Tensor] | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.safetensors"
    if tensors is None:
        file.write_text("no tensors")
    else:
        save_file(tensors, file)
    assert main(["bench", "pursuit", "--json", "--activations", str(file)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert re.search(message, output.err)


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "nose"], ["bench", "pursuit", "--activations", "/no/file"]])
def test_mistakes_on_the_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("itda: ")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(
    as_json: bool, data: Activations, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    file = tmp_path / "activations.safetensors"
    save_file({"activations": data.x, "sources": data.sources}, file)
    monkeypatch.setattr("itda_core.benchmarks.pursuit.results.PursuitBench", lambda: replace(SMALL, sizes=(60,)))
    monkeypatch.setattr("itda_core.benchmarks.pursuit.wide.WideBench", lambda: WideBench(700, 100, 20, 300, 1000))
    arguments = ["bench", "pursuit", "--activations", str(file)]
    assert main([*arguments, *(["--json", "--full"] if as_json else [])]) == 0
    output = capsys.readouterr()
    assert "looking for the threshold" in output.err
    if as_json:
        answer = json.loads(output.out)
        assert len(answer["rows"]) == 1
        assert answer["wide"]["atoms_made"] == 220
        assert answer["sequential"]["sequential_identical"]
    else:
        assert "IoU" in output.out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Corpus:
    root = tmp_path_factory.mktemp("corpus")
    file = root / "reference.jsonl"
    write_documents(file, language_reference)
    return ingest(CorpusSettings(str(file)), WindowSettings(context=32), root / "corpora")


FEW = CaptureBench(batch_windows=4, batches=5, warm_up=1, memory_batches=8, memory_from=3)


def test_a_small_run_of_capture(corpus: Corpus) -> None:
    report = bench_capture(corpus, FEW, ignored)
    answer = json.loads(json.dumps(report.as_json(), allow_nan=False))
    every, early = answer["rows"]
    assert every["layers"] == [0, 1, 2, 3, 4, 5]
    assert early["layers"] == [0, 1]
    for row in (every, early):
        assert row["batches"] == 5
        assert 20 <= row["tokens"] <= 5 * 4 * 31
        assert row["ratio"] == pytest.approx(row["capture_ms"] / row["hooks_ms"])
        assert row["stopped_ratio"] == pytest.approx(row["capture_ms"] / row["stopped_hooks_ms"])
        assert row["largest_difference"] < 1e-5
    if answer["memory"] is not None:
        memory = answer["memory"]
        assert memory["batches"] == 8
        assert 100 < memory["first_mb"] <= memory["highest_mb"]
        assert memory["last_mb"] <= memory["highest_mb"]
        assert math.isfinite(memory["slope_kb"])
    assert answer["corpus"] == corpus.id
    table = capture_table(report)
    assert "0,1,2,3,4,5" in table
    assert table.count(" × ") + table.count(" ×\n") >= 4


def test_plain_hooks_take_what_the_model_says_itself(corpus: Corpus) -> None:
    folder = str(model_folder("docs-a"))
    model = load_model(folder, device="cpu")
    windows = list(islice(make_windows(corpus.documents(), model.tokenizer, corpus.cut, 10_000), 3))
    plain = PlainHooks(folder)
    for stop in (False, True):
        (found,) = plain.activations(windows, [2], stop)
        expected = []
        for window in windows:
            ids = torch.tensor([window.tokens])
            with torch.no_grad():
                hidden = plain._network(input_ids=ids, output_hidden_states=True).hidden_states[3][0]
            expected.append(hidden[window.captured.start : window.captured.stop])
        assert torch.allclose(found, torch.cat(expected), atol=1e-4)


def test_a_corpus_too_small_for_the_capture_bench_says_so(corpus: Corpus) -> None:
    with pytest.raises(UserError, match="too few"):
        bench_capture(corpus, replace(FEW, batches=1000), ignored)
    with pytest.raises(UserError, match="too few"):
        bench_capture(corpus, replace(FEW, memory_batches=1000), ignored)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_capture_command(
    as_json: bool, corpus: Corpus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("itda_core.benchmarks.capture.results.CaptureBench", lambda: replace(FEW, batches=2))
    monkeypatch.setattr("itda_core.benchmarks.activations.documentation", lambda: nullcontext(corpus))
    assert main(["bench", "capture", *(["--json"] if as_json else [])]) == 0
    output = capsys.readouterr()
    assert "by turns" in output.err
    if as_json:
        assert len(json.loads(output.out)["rows"]) == 2
    else:
        assert "hooks that stop" in output.out


NARROW = ScaleBench({"narrow": 64, "wide": 128}, atoms=120, threshold=0.2, batch_rows=64, encode_rows=100)


def test_a_wide_space_keeps_what_is_laid_into_it(data: Activations) -> None:
    x, width = data.x[:500], data.x.shape[1]
    space = WideSpace(width, 256, 0.1)
    wide = space.lay(x)
    assert wide.shape == (500, 256)
    share = 1 - (x.square().sum(1) / wide.square().sum(1))
    assert share.mean() == pytest.approx(0.1, abs=0.01)  # of the squared norm is noise
    quiet = WideSpace(width, 256, 0.0).lay(x)
    assert torch.allclose(quiet @ quiet.T, x @ x.T, atol=1e-3 * float(x.square().sum(1).max()))
    assert not torch.equal(space.lay(x), wide)  # no two calls share their noise


def test_a_small_run_of_scale(data: Activations) -> None:
    report = bench_scale(data, NARROW, ignored)
    answer = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert [row["d_model"] for row in answer["rows"]] == [64, 128]
    for row in answer["rows"]:
        assert 0 < row["atoms"] <= 120
        assert 64 <= row["build_rows"] <= 800
        assert 0 < row["relative_error"] < 1
        assert row["dictionary_mb"] == pytest.approx(row["atoms"] * row["d_model"] * 4 / 1e6)
    assert [(plan["model"], plan["tokens"]) for plan in answer["plans"]] == [
        (model, tokens) for model in ("narrow", "wide") for tokens in (1_000_000, 10_000_000)
    ]
    first, second = answer["plans"][2:]
    assert first["token_bytes"] == 2 * 128 + 4
    assert first["transfer_gb"] == pytest.approx(0.26)
    assert first["transfer_hours"] == pytest.approx(0.26e9 * 8 / 100e6 / 3600)
    assert first["shards"] == math.ceil(1_000_000 / (16 * 127))
    assert second["encode_hours"] > 5 * first["encode_hours"] > 0
    assert "a token" in scale_table(report)


def test_scale_says_what_it_needs(data: Activations) -> None:
    with pytest.raises(UserError, match="give more than 100,000,"):
        bench_scale(data, replace(NARROW, encode_rows=100_000), ignored)
    with pytest.raises(UserError, match="of width 8 at most"):
        bench_scale(data, replace(NARROW, models={"narrow": 8}), ignored)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_scale_command(
    as_json: bool,
    data: Activations,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("itda_core.benchmarks.scale.results.FULL_SCALE", NARROW)
    file = tmp_path / "x.safetensors"
    save_file({"activations": data.x}, file)
    assert main(["bench", "scale", "--full", "--activations", str(file), *(["--json"] if as_json else [])]) == 0
    output = capsys.readouterr()
    assert "filling the Gram matrix" in output.err
    assert len(json.loads(output.out)["plans"]) == 4 if as_json else "one layer" in output.out
