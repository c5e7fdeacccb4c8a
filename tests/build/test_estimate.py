import json
from dataclasses import replace
from pathlib import Path

import pytest

from itda_core.build.estimate import BuildRequest, estimate, runs_of
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.machine import machine_memory
from itda_core.common.settings import BuildSettings, CorpusSettings, DictionarySettings, WindowSettings
from itda_core.corpus.store import Corpus
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.metadata import ModelShape, model_shape
from tests.support.places import MODEL_A


def records(root: Path) -> list[DictionaryManifest]:
    return [record for record in Library(root).records() if isinstance(record, DictionaryManifest)]


def asked(shape: ModelShape, model: str = "docs-a", layers=(1, 3), tokens: int = 6000, **how) -> BuildRequest:
    settings = DictionarySettings(**{"l0": 8, "threshold": 0.25, **how})
    return BuildRequest(
        model,
        shape,
        "float32",
        CorpusSettings("docs"),
        WindowSettings(),
        BuildSettings(layers, tokens=tokens),
        settings,
    )


def test_the_shape_of_a_model_is_read_from_its_files() -> None:
    shape = model_shape(str(MODEL_A))
    assert (shape.is_local, shape.n_layers, shape.d_model, shape.max_tokens) == (True, 6, 192, 128)
    from safetensors.numpy import load_file

    weights = load_file(MODEL_A / "model.safetensors")
    assert shape.n_parameters == sum(array.size for array in weights.values())
    assert shape.is_counted


def test_what_is_not_here_is_known_by_its_name() -> None:
    assert model_shape("meta-llama/Llama-3.1-70B-Instruct").n_parameters == 70 * 10**9
    assert model_shape("EleutherAI/pythia-1.4b-deduped").n_parameters == 1_400_000_000
    assert model_shape("owner/mb-base").n_parameters is None
    assert model_shape("owner/model-4bit").n_parameters is None


@pytest.mark.parametrize("name", ["", "  ", "/no/such/model", "~nobody-of-that-name/x", "a/b/c", "x" * 300, "a\0b"])
def test_what_cannot_be_a_model_is_refused(name: str) -> None:
    with pytest.raises(UserError):
        model_shape(name)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        model_shape(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="safetensors"):
        model_shape(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(DamagedError, match="JSON"):
        model_shape(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"n_layer": 3, "n_embd": True}))
    with pytest.raises(UserError, match=r"weights model\.safetensors"):
        model_shape(str(tmp_path))


@pytest.mark.parametrize("revision", ["../../x", "/etc", "a b", "-x"])
def test_a_revision_that_is_none_is_refused(revision: str) -> None:
    with pytest.raises(UserError, match="revision"):
        model_shape("owner/model", revision)


def test_the_runs_that_dictionaries_came_of(library: Path) -> None:
    found = runs_of(records(library))
    assert [(run.model, run.layers, run.n_sites, run.n_tokens) for run in found] == [
        ("docs-b", (3,), 1, 6000),
        ("docs-a", (1, 3), 2, 6000),
    ]


def test_the_same_build_again_takes_what_it_took(library: Path) -> None:
    run = runs_of(records(library))[1]
    shape = model_shape(str(MODEL_A))
    cost = estimate(asked(shape), Library(library), records(library), [])
    assert cost.seconds == pytest.approx((run.seconds, run.seconds))
    assert cost.runs == (run,)
    sizes = [(library / "dictionaries" / each.id / "index.duckdb").stat().st_size for each in records(library)]
    assert min(sizes) * 2 <= cost.disk <= max(sizes) * 2
    assert cost.memory is not None and shape.n_parameters is not None
    assert 1_000_000_000 + 4 * shape.n_parameters < cost.memory < 1_500_000_000
    assert not cost.is_for_remote


def test_time_grows_with_tokens_dictionaries_and_the_model(library: Path) -> None:
    run = runs_of(records(library))[1]
    shape = model_shape(str(MODEL_A))
    twice = estimate(asked(shape, tokens=12_000), Library(library), records(library), [])
    assert twice.seconds == pytest.approx((2 * run.seconds, 2 * run.seconds))
    four = estimate(asked(shape, layers=(0, 1, 2, 3)), Library(library), records(library), [])
    assert four.seconds == pytest.approx((run.seconds, 2 * run.seconds))
    wide = ModelShape(True, 6, 192 * 4, 128, 50_000_000, True)
    other = estimate(asked(wide, "wide"), Library(library), records(library), [])
    assert other.scale == pytest.approx(16)
    assert other.seconds is not None
    assert other.seconds[0] < other.seconds[1]
    assert {each.model for each in other.runs} == {"docs-a", "docs-b"}


def test_nothing_to_go_by_is_no_number(library: Path, tmp_path: Path) -> None:
    shape = model_shape(str(MODEL_A))
    empty = estimate(asked(shape), Library(tmp_path / "none"), [], [])
    assert empty.seconds is None
    assert empty.runs == ()
    assert empty.disk == 2 * 6000 * 8 * 19
    unknown = estimate(asked(ModelShape(False), "owner/model"), Library(library), records(library), [])
    assert (unknown.seconds, unknown.memory, unknown.runs) == (None, None, ())


def test_a_large_model_is_one_for_a_remote_service(library: Path) -> None:
    name = "meta-llama/Llama-3.1-70B"
    assert estimate(asked(model_shape(name), name), Library(library), records(library), []).is_for_remote
    memory = machine_memory()
    assert memory is not None
    too_large = ModelShape(True, 40, 4096, 4096, memory // 4 + 1, True)
    assert estimate(asked(too_large, "x"), Library(library), [], []).is_for_remote


def test_a_model_on_a_server_costs_its_transfer(library: Path) -> None:
    shape = ModelShape(False, n_layers=126, d_model=16_384, n_parameters=405 * 10**9)
    cost = estimate(replace(asked(shape, "x/y", (40, 80)), remote=True), Library(library), records(library), [])
    assert (cost.seconds, cost.passes, cost.is_for_remote) == (None, 1, False)
    assert cost.transfer == 6000 * 2 * (2 * 16_384 + 4)
    assert cost.memory is not None
    assert cost.memory < 2e9
    assert cost.disk > cost.transfer


def test_documents_bound_the_tokens(library: Path) -> None:
    shape = model_shape(str(MODEL_A))
    (folder,) = (library / "corpora").iterdir()
    corpus = Corpus.open(folder)
    wanted = BuildRequest(
        "docs-a", shape, "float32", corpus.settings, WindowSettings(), BuildSettings((1,), tokens=10**9),
        DictionarySettings(),
    )  # fmt: skip
    assert estimate(wanted, Library(library), [], [corpus]).tokens == corpus.n_documents * 127
    assert estimate(wanted, Library(library), [], []).tokens == 10**9


def test_what_is_known_of_a_corpus_before_it_is_read(tmp_path: Path) -> None:
    def known(content: str, name: str = "a.txt", documents: int | None = None, **cut) -> tuple[int, int | None]:
        (tmp_path / name).write_text(content)
        settings = CorpusSettings(str(tmp_path / name), documents=documents)
        wanted = replace(asked(ModelShape(True, 6, 192, 128, 1, True), tokens=10**6), corpus=settings)
        cost = estimate(replace(wanted, cut=WindowSettings(**cut)), Library(tmp_path), [], [])
        return cost.tokens, cost.documents

    assert known("word " * 10_000) == (97 * 127, 97)
    assert known("word " * 10_000, windows="all") == (12_500, 97)
    assert known("word " * 10_000, documents=12) == (12 * 127, 12)
    assert known("word " * 100) == (125, 10)
    assert known("word " * 10) == (12, 1)
    assert known("word " * 10_000, "a.jsonl") == (10**6, None)
    assert known("word " * 10_000, "a.jsonl", documents=5) == (5 * 127, 5)
