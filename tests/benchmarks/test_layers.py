"""`itda bench layers`: a small run of the whole, on the demo's two seeds."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from itda_core import UserError
from itda_core.benchmarks.layers.results import LayersBench, LayersReport
from itda_core.benchmarks.layers.run import Models, bench_layers, find_models
from itda_core.benchmarks.layers.sites import build_sites, capture_models, equal_threshold
from itda_core.benchmarks.layers.table import layers_table
from itda_core.benchmarks.layers.trial import Trial
from itda_core.capture.layers import LayerActivations
from itda_core.cli.command_line import main
from itda_core.common.columns import in_markdown
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.corpus.store import Corpus, ingest
from itda_core.models.bundled import checkpoints, model_folder, seed_models
from itda_core.reports.layers import BENCHED
from itda_core.similarity import jaccard, layer_matching, linear_cka
from itda_core.similarity.matching import both_ways
from itda_core.similarity.overlap import rows_of, union_keys
from tests.support.corpora import write_documents

pytestmark = pytest.mark.slow

SMALL = LayersBench(
    tokens=400, thresholds=(0.3, 0.15), budgets=(60, 150), draws=2, transplant_tokens=300, union_sources=(120,)
)


def ignored(line: str) -> None:
    """Nobody reads the progress."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Corpus:
    root = tmp_path_factory.mktemp("corpus")
    file = root / "reference.jsonl"
    write_documents(file, language_reference)
    return ingest(CorpusSettings(str(file)), WindowSettings(context=64), root / "corpora")


@pytest.fixture(scope="module")
def report(corpus: Corpus) -> LayersReport:
    a, b = model_folder("docs-a"), model_folder("docs-b")
    models = Models({"docs-a": a, "docs-b": b}, {"s1": seed_models()["s1"]}, {"docs-c": model_folder("docs-c")})
    return bench_layers(models, corpus, SMALL, ignored)


def test_a_small_run_of_the_whole(report: LayersReport) -> None:
    answer = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert set(answer["accuracy"]) == set(answer["interval"]) == set(BENCHED) == set(answer["cost"])
    assert answer["n_pairs"] == 2
    for name, value in answer["accuracy"].items():
        assert answer["interval"][name] is None  # of two models
        assert 0 <= value <= 1
        assert value * 12 == pytest.approx(round(value * 12), abs=1e-6)  # two pairs of six layers
    best = max(answer["accuracy"].values())
    assert len(answer["lead"]) == len(BENCHED) - 1
    for name, lead in answer["lead"].items():
        assert answer["accuracy"][lead["best"]] == best
        assert lead["difference"] == pytest.approx(best - answer["accuracy"][name])
    assert answer["accuracy"]["mutual_knn"] > 0.8
    assert answer["accuracy"]["shared_concordance"] > 0.8
    assert [(each["tokens"], each["draws"]) for each in answer["budgets"]] == [(60, 2), (150, 2)]
    assert [(each["tokens"], each["draws"]) for each in answer["across"]] == [(400, 1), (60, 2), (150, 2)]
    few = answer["budgets"][0]
    assert "linear_regression" not in few["accuracy"]  # 60 tokens of width 192
    assert "give more tokens" in few["left_out"]["linear_regression"]
    assert [each["threshold"] for each in answer["thresholds"]] == [0.3, 0.15]
    fewer, more = (each["atoms"] for each in answer["thresholds"])
    assert fewer.keys() == more.keys() == {"docs-a", "docs-b"}
    assert all(fewer[name] < more[name] for name in fewer)
    (union,) = answer["unions"]
    assert set(union["pairs"]) == {"docs-a docs-b", "docs-a s1", "docs-b s1"}
    assert union["ranges"]["same"] == [union["pairs"]["docs-a docs-b"]] * 2
    assert union["ranges"]["same"][0] > union["ranges"]["different"][1] > union["chance"] > 0.1
    assert union["threshold"]["s1"] < union["threshold"]["docs-a"]  # narrower activations are explained with less
    assert answer["equal_threshold"].keys() == {"s1", "docs-c"}
    assert answer["convergence"] == {"model": None, "steps": [], "iou": []}  # neither has checkpoints
    foreign = answer["foreign"]["docs-c"]
    assert 100 < foreign["tokens"] < 400
    assert foreign["accuracy"]["linear_cka"] > 0.4  # 0.17 by chance: of other tokens nothing would match


def test_models_are_compared_with_as_many_sources(report: LayersReport, corpus: Corpus) -> None:
    folder = seed_models()["s1"]
    model = capture_models({"s1": folder}, corpus, SMALL.tokens, SMALL.batch_windows, ignored)["s1"]
    for wanted in (50, 200):
        threshold = equal_threshold(model, SMALL.l0, wanted)
        sites = build_sites(model, SMALL.l0, threshold)
        assert len(union_keys(site.dictionary.sources for site in sites)) == pytest.approx(wanted, rel=0.05)
    with pytest.raises(UserError, match="no threshold gives a model 500 sources"):
        equal_threshold(model, SMALL.l0, 500)


def test_convergence_is_that_of_the_first_seed_with_checkpoints(corpus: Corpus) -> None:
    tiny = LayersBench(tokens=200, thresholds=(), budgets=(), transplant_tokens=100, union_sources=(90,))
    found = bench_layers(Models({name: seed_models()[name] for name in ("s2", "s1")}), corpus, tiny, ignored)
    assert (found.convergence["model"], found.convergence["steps"]) == ("s1", [100, 300, 1000])
    ious = np.array(found.convergence["iou"])
    assert ious.shape == (3, 8)
    assert ious[2].mean() > ious[0].mean()
    assert "step 1,000" in layers_table(found)


def test_the_table_has_all_measures_and_the_papers_figures(report: LayersReport) -> None:
    with in_markdown():
        lines = layers_table(report).splitlines()
        head = next(number for number, line in enumerate(lines) if line.startswith("| measure |"))
        assert lines[head - 1] == "" and set(lines[head + 1]) == set("| -:")
        assert lines[head].count("|") == lines[head + 2].count("|")
    table = layers_table(report)
    for title in BENCHED.values():
        assert title in table
    assert "0.88" in table
    assert "another tokenizer" in table
    assert "different architecture" in table


def test_a_trial_is_the_measures_themselves(activations: torch.Tensor, sources: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    models = {
        name: LayerActivations(
            [activations[:200] + 0.3 * k * torch.randn(200, 24, generator=generator) for k in (1, 4)],
            sources[:200],
            sources[:200],
        )
        for name in ("a", "b")
    }
    found = Trial(models, 0.2, SMALL).accuracy([("a", "b")])
    a, b = models["a"].layers, models["b"].layers
    alike = np.array([[linear_cka(x, y) for y in b] for x in a])
    assert found.accuracy["linear_cka"] == layer_matching(both_ways({("a", "b"): alike})).accuracy
    sites = {name: build_sites(model, SMALL.l0, 0.2) for name, model in models.items()}
    shared = np.array([[jaccard(s.dictionary.sources, t.dictionary.sources) for t in sites["b"]] for s in sites["a"]])
    assert found.accuracy["jaccard"] == layer_matching(both_ways({("a", "b"): shared})).accuracy
    assert found.atoms == {name: np.mean([len(site.dictionary) for site in each]) for name, each in sites.items()}
    for x, site in zip(a, sites["a"], strict=True):
        unit = torch.nn.functional.normalize(x[site.rows], dim=1)
        assert torch.allclose(unit, site.dictionary.atoms, atol=1e-6)


def test_rows_of_sources() -> None:
    sources = torch.tensor([[0, 1], [0, 2], [3, 1], [3, 2]])
    assert rows_of(np.array([[3, 2], [0, 1]]), sources).tolist() == [3, 0]


def test_models_that_cannot_be_matched_are_refused(corpus: Corpus) -> None:
    a = model_folder("docs-a")
    with pytest.raises(UserError, match="two models at least"):
        bench_layers(Models({"docs-a": a}), corpus, SMALL, ignored)
    with pytest.raises(UserError, match="larger corpus"):
        bench_layers(Models({"a": a, "b": a}), corpus, LayersBench(tokens=corpus.n_characters), ignored)
    with pytest.raises(UserError, match="ask for fewer"):
        LayersBench(tokens=500, budgets=(100, 600), union_sources=())
    with pytest.raises(UserError, match="give no 1,500 sources"):
        LayersBench(tokens=500, budgets=())


def test_seeds_and_checkpoints_are_found_by_their_weights(tmp_path: Path) -> None:
    assert seed_models(tmp_path) == {}
    for name in ("s2", "s1", "s1/checkpoints/step-1000", "s1/checkpoints/step-50"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.safetensors").touch()
    (tmp_path / "s3").mkdir()
    assert list(seed_models(tmp_path)) == ["s1", "s2"]
    assert list(checkpoints(tmp_path / "s1")) == [50, 1000]
    assert checkpoints(tmp_path / "s2") == {}


def test_without_seeds_the_demo_models_take_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setattr("itda_core.benchmarks.layers.run.seed_models", lambda: {})
    found = find_models(said.append)
    assert (list(found.seeds), found.others) == (["docs-a", "docs-b"], {})
    assert "docs-a and docs-b instead" in said[0]
    monkeypatch.setattr("itda_core.benchmarks.layers.run.seed_models", lambda: {"s1": tmp_path, "s2": tmp_path})
    found = find_models(said.append)
    assert (list(found.seeds), list(found.others)) == (["s1", "s2"], ["docs-a", "docs-b"])
    assert list(found.foreign) == ["docs-c"]


def test_the_command(corpus: Corpus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    small = LayersBench(tokens=120, thresholds=(), budgets=(), transplant_tokens=50, union_sources=())
    monkeypatch.setattr("itda_core.benchmarks.layers.results.LayersBench", lambda: small)
    monkeypatch.setattr("itda_core.benchmarks.layers.run.seed_models", lambda: {})
    monkeypatch.setattr("itda_core.benchmarks.activations.documentation", lambda: nullcontext(corpus))
    assert main(["bench", "layers", "--json"]) == 0
    output = capsys.readouterr()
    assert "capturing 120 tokens of docs-b" in output.err
    answer = json.loads(output.out)
    assert {"accuracy", "interval", "n_pairs"} <= set(answer)
    assert answer["n_pairs"] == 2
