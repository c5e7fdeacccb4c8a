"""All layers of two models, compared by every measure: the job, its file, and `itda similarity`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from itda_core.capture.layers import common_rows, ends_of
from itda_core.capture.local import Capture
from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.settings import LayersSettings
from itda_core.common.types import Site
from itda_core.comparison.layers import _union, compare_layers
from itda_core.corpus.store import Corpus
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import Window, make_windows
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.model import load_model
from itda_core.queries.pairs import Pair
from itda_core.reports.layers import LAYER_MEASURES, OLD_REPORT, LayerSimilarity, path_of, read_layers
from itda_core.similarity import linear_cka, linear_regression, svcca

from tests.support.places import MODEL_A, MODEL_B  # isort: skip
from tests.support.small_pair import DOCUMENTS, windows, write_index  # isort: skip

TOKENS = 600
SETTINGS = LayersSettings(TOKENS, 0.15, 10)


@pytest.fixture(scope="module")
def compared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A copy of the library in which the layers of its two models have been compared."""
    root = tmp_path_factory.mktemp("layers") / "library"
    shutil.copytree(library, root)
    a, b = pair_of(Library(root))
    options = ["--tokens", str(TOKENS), "--threshold", "0.15", "--l0", "10"]
    assert main(["similarity", a.id, b.id, *options, "--library", str(root)]) == 0
    return Library(root)


def pair_of(library: Library) -> tuple[DictionaryManifest, DictionaryManifest]:
    """Layer 3 of model A and of model B."""
    found = [record for record in library.records() if isinstance(record, DictionaryManifest)]
    a, b = (
        next(each for each in found if each.model == name and each.site.layer == 3) for name in ("docs-a", "docs-b")
    )
    return a, b


def layers_of(folder: Path, record: DictionaryManifest, library: Library) -> list[torch.Tensor]:
    corpus, model = Corpus.open(library.corpora / record.corpus), load_model(str(folder), device="cpu")
    sites = [Site(layer) for layer in range(model.n_layers)]
    read = lambda: make_windows(corpus.documents(), model.tokenizer, record.cut, TOKENS)  # noqa: E731
    batches = list(Capture(model, sites, read))
    return [torch.cat([batch.activations[site] for batch in batches]) for site in sites]


def test_every_layer_against_every_layer(compared: Library) -> None:
    a, b = pair_of(compared)
    found = read_layers(compared, a, b, SETTINGS)
    assert found is not None
    assert (found.a, found.b, found.key, found.tokens, found.coverage) == ("docs-a", "docs-b", "token", TOKENS, (1, 1))
    assert list(map(len, found.atoms)) == [6, 6]
    assert set(found.values) == set(LAYER_MEASURES)
    x, y = layers_of(MODEL_A, a, compared), layers_of(MODEL_B, b, compared)
    cka = np.array([[linear_cka(left, right) for right in y] for left in x])
    assert np.allclose(found.values["linear_cka"], cka, atol=1e-6)
    for name, measure in (
        ("linear_cka_debiased", lambda x, y: linear_cka(x, y, debiased=True)),
        ("svcca", svcca),
        ("svcca_directions", lambda x, y: svcca(x, y, directions=20)),
    ):
        assert found.values[name][2][3] == pytest.approx(measure(x[2], y[3]), abs=1e-6)
    assert (found.cautions, found.unmeasured) == ({}, [])
    # Directed: from A to B.
    assert found.values["linear_regression"][1][4] == pytest.approx(linear_regression(x[1], y[4]), abs=1e-6)
    # Two seeds of one architecture: the same layers are alike.
    near = [int(np.argmax(row)) for row in found.values["mutual_knn"]]
    assert sum(abs(i - j) <= 1 for i, j in enumerate(near)) >= 5
    for name, rows in found.values.items():
        assert np.isfinite(rows).all(), name
        assert np.max(rows) <= 1 + 1e-9, name
    assert 0 < found.union < 1
    low, high = found.union_interval
    assert low < found.union < high
    n_a, n_b = found.union_sources
    assert max(found.atoms[0]) <= n_a <= min(sum(found.atoms[0]), TOKENS)
    by_lot = n_a * n_b / TOKENS
    assert found.union_chance == pytest.approx(by_lot / (n_a + n_b - by_lot))


def test_the_union_of_all_layers_by_hand() -> None:
    keys = np.array([[document, position] for document in (0, 4, 9) for position in range(10)])
    a = [torch.tensor([[0, 1], [4, 2]]), torch.tensor([[0, 1], [0, 3]])]
    b = [torch.tensor([[4, 2], [4, 7], [0, 3]])]
    found = _union(a, b, keys)
    assert (found["union"], found["union_sources"]) == (2 / 4, (3, 3))
    assert found["union_chance"] == pytest.approx(0.3 / 5.7)  # 3 of 30 tokens, twice
    # Document 0 gives 1 of 2, document 4 gives 1 of 2, document 9 none: whatever is drawn, half is shared.
    assert found["union_interval"] == (0.5, 0.5)
    low, high = _union(a, [*b, torch.tensor([[0, 5], [0, 6]])], keys)["union_interval"]
    assert (low, high) == (1 / 4, 1 / 2)  # document 0 alone, document 4 alone


def test_the_command_reads_what_is_there(compared: Library, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = pair_of(compared)
    path = path_of(compared, a, b, SETTINGS)
    before = path.stat().st_mtime_ns
    options = ["--tokens", str(TOKENS), "--threshold", "0.15", "--l0", "10", "--library", str(compared.root)]
    assert main(["similarity", a.id, b.id, *options, "--json"]) == 0
    kept = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == {k: v for k, v in kept.items() if k not in ("version", "digest")}
    assert path.stat().st_mtime_ns == before
    assert main(["similarity", a.id, b.id, *options]) == 0
    said = capsys.readouterr().out
    assert "Mutual 10-nearest neighbours: most like layers 0 to 5 of A are" in said
    union = json.loads(path.read_text())["union"]
    assert f"IoU of all layers together {union:.4f} (95 % interval" in said


def test_too_few_tokens_leave_a_measure_out(
    compared: Library, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair_of(compared)
    options = ["--tokens", "120", "--threshold", "0.15", "--library", str(compared.root), "--json"]
    assert main(["similarity", a.id, b.id, *options]) == 0
    found = LayerSimilarity.parse(json.loads(capsys.readouterr().out))
    assert "give more tokens" in found.left_out["linear_regression"]  # width 192: any fit would be perfect
    assert "linear_regression" not in found.values
    assert "mutual_knn" in found.values
    assert "with the tokens of one model shuffled it would be up to 0." in found.cautions["linear_cka"]
    assert set(found.values["linear_cka_debiased"][0]) != set(found.values["linear_cka"][0])
    assert main(["similarity", a.id, b.id, *options[:-1]]) == 0
    assert "Linear CKA: 120 tokens are few" in capsys.readouterr().out


def test_a_report_of_before_there_was_a_measure_is_read(
    compared: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared.root, root)
    library = Library(root)
    a, b = pair_of(library)
    path = path_of(library, a, b, SETTINGS)
    now = json.loads(path.read_text())
    new = {"svcca_directions", "linear_cka_debiased"}
    then = {key: value for key, value in now.items() if key not in ("cautions", "digest")}
    path.write_text(json.dumps(then | {"values": {k: v for k, v in now["values"].items() if k not in new}}))
    found = read_layers(library, a, b, SETTINGS)
    assert found is not None
    assert set(found.unmeasured) == new
    assert found.values["svcca"] == tuple(map(tuple, now["values"]["svcca"]))
    assert main(["verify", "--library", str(root)]) == 0
    options = ["--tokens", str(TOKENS), "--threshold", "0.15", "--l0", "10", "--library", str(root)]
    assert main(["similarity", a.id, b.id, *options]) == 0
    assert f"Linear CKA, debiased, SVCCA, 20 directions: {OLD_REPORT}" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "value"), [("--tokens", "99"), ("--threshold", "-1"), ("--l0", "0")])
def test_settings_that_cannot_be(name: str, value: str, compared: Library, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = pair_of(compared)
    assert main(["similarity", a.id, b.id, name, value, "--library", str(compared.root)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def bytes_and_words(context: int, captured: int | None = None) -> list[list[Window]]:
    """The small documents as two tokenizers cut them: of one the second word's last character is three tokens, of which
    a window of `context` tokens may have some; the other has a token a word. The first's last window is captured in
    part where `captured` says how far.
    """
    spans = [(0, 5), (5, 9), (9, 10), (9, 10), (9, 10), (10, 15), (15, 20)]
    found = []
    for document in range(len(DOCUMENTS)):
        for first in range(0, len(spans), context):
            own = spans[first : first + context]
            found.append(Window(document, [], [7] * len(own), [], first, own, range(1, len(own))))
    if captured is not None:
        found[-1] = found[-1]._replace(captured=found[-1].captured[:captured])
    return [found, windows(1)]


@pytest.mark.parametrize(("context", "captured"), [(7, None), (3, None), (4, None), (7, 2), (7, 3), (7, 4)])
def test_tokens_that_end_at_the_same_character_are_those_that_the_indexes_say(
    tmp_path: Path, context: int, captured: int | None
) -> None:
    cuts = bytes_and_words(context, captured)
    tables = [TokenTable.of(windows, holdout=True) for windows in cuts]
    paths = [write_index(tmp_path / name, windows, [(0, 1)]) for name, windows in zip("ab", cuts, strict=True)]
    expected = set(
        zip(*(each.tolist() for each in Pair(paths[0], paths[1], "characters").common_tokens()), strict=True)
    )
    rows = common_rows(*map(ends_of, cuts))
    tokens = []
    for cut_, table, row in zip(cuts, tables, rows, strict=True):
        places = np.array([(window.document, window.position + at) for window in cut_ for at in window.captured])
        tokens.append(table.ordinal(*places[row.numpy()].T).tolist())
    assert set(zip(*tokens, strict=True)) == expected
    # Of the three the last alone has read the character whole: where it is not captured nothing is the second word.
    if context == 7 and captured is None:
        assert (4, 1) in expected
    if context in (3, 4):
        assert not {token for token, other in expected if other == 1} & {2, 3}


def test_a_damaged_report_says_so(compared: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared.root, root)
    library = Library(root)
    a, b = pair_of(library)
    path = path_of(library, a, b, SETTINGS)
    sound = json.loads(path.read_text())
    assert main(["verify", "--library", str(root)]) == 0
    for change in (
        {"values": {"jaccard": [[0.5]]}},
        {"values": {"jaccard": [["much"] * 6] * 6}},
        {"atoms": 3},
        {"coverage": []},
        {"union": 1.5},
        {"union_interval": [0.5]},
        {"union_chance": "none"},
        {"union_sources": []},
        {"union": True},
        {"coverage": [2, 1]},
        {"tokens": "600"},
        {"l0": 0.5},
        {"threshold": 10**400},
        {"threshold": "nan"},
        {"values": {"jaccard": [["0.5"] * 6] * 6}},
        {"atoms": [[1.5] * 6, [1] * 6]},
        {"a": 3},
        {"left_out": {"svcca": ["a"]}},
        {"cautions": {"svcca": 3}},
        {"cautions": []},
    ):
        path.write_text(json.dumps(sound | change))
        with pytest.raises(DamagedError, match="delete its file"):
            read_layers(library, a, b, SETTINGS)
    path.write_text(json.dumps(sound | {"union": float("nan")}))
    with pytest.raises(DamagedError):
        read_layers(library, a, b, SETTINGS)
    path.write_text("{")
    with pytest.raises(DamagedError):
        read_layers(library, a, b, SETTINGS)
    capsys.readouterr()
    assert main(["verify", "--json", "--library", str(root)]) == 1
    assert list(json.loads(capsys.readouterr().out)["problems"]) == [path.name]


def test_a_corpus_elsewhere_is_not_read(compared: Library, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared.root, root)
    for record in pair_of(Library(root)):
        path = Library(root).folder(record.id) / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"corpus": f"../corpora/{record.corpus}"}))
    a, b = pair_of(Library(root))
    with pytest.raises(DamagedError, match="which no library has"), running_job(root, "Compare") as job:
        compare_layers(Library(root), a.id, b.id, job, SETTINGS)


def test_reports_are_told_apart(compared: Library) -> None:
    a, b = pair_of(compared)
    usual = path_of(compared, a, b, SETTINGS)
    others = [
        path_of(compared, b, a, SETTINGS),
        path_of(compared, a, b, replace(SETTINGS, tokens=700)),
        path_of(compared, replace(a, weights_sha256="0" * 64), b, SETTINGS),
        path_of(compared, replace(a, site=Site(3, "mlp")), b, SETTINGS),
    ]
    assert usual not in others
    assert path_of(compared, replace(a, site=Site(1)), b, SETTINGS) == usual  # any dictionary stands for its model


def test_an_unknown_dictionary_is_refused(compared: Library) -> None:
    a, _ = pair_of(compared)
    with pytest.raises(UserError, match="no dictionary"):
        compare_layers(compared, a.id, "nobody", None)  # type: ignore[arg-type] - nothing is told before
