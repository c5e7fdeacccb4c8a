"""Probes on latents that are known by hand, and the job on a small library."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from itda_core.cli.command_line import main
from itda_core.cli.verify import verify_library
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.settings import ProbingSettings
from itda_core.common.types import Codes, Document
from itda_core.corpus.store import Corpus
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.held_out import TokensOfModel, random_dictionary
from itda_core.evaluation.probing.dataset import read_tokens
from itda_core.evaluation.probing.features import CodeFeatures, DenseFeatures, DirectionFeatures
from itda_core.evaluation.probing.probe import KS, ProbeDataset, _Sides, choose, run_probes, split
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.models.locate import open_model
from itda_core.reports.probing import PROBING_FILE, Probe, Probing, read_probing
from itda_core.reports.sae import sae_folder, sae_ids
from tests.support.builder import LibraryBuilder
from tests.support.places import MODEL_A
from tests.support.saelens import needs_saelens

DOCUMENTS, EACH, LATENTS = 60, 30, 12
N = DOCUMENTS * EACH


def sparse(table: np.ndarray) -> CodeFeatures:
    row, atom = np.nonzero(table)
    return CodeFeatures(Codes(row, atom, table[row, atom].astype(np.float32)), *table.shape)


def marks(**labels: np.ndarray) -> ProbeDataset:
    return ProbeDataset(
        np.repeat(np.arange(DOCUMENTS), EACH), np.tile(np.arange(EACH), DOCUMENTS), np.arange(N) % 7, labels
    )


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """[N, LATENTS] codes in which every latent fires on about a quarter of the tokens, by chance."""
    random = np.random.default_rng(3)
    return np.where(random.random((N, LATENTS)) < 0.25, random.normal(size=(N, LATENTS)), 0).astype(np.float32)


def probes(found, coder: str = "itda") -> dict[int | None, Probe]:
    (prop,) = found.properties
    return {probe.k: probe for probe in prop.probes if probe.coder == coder}


def test_features_say_of_codes_what_the_dense_table_says(table: np.ndarray) -> None:
    rows = np.arange(N) % 3 > 0
    weights = np.random.default_rng(0).normal(size=N)
    directions = DirectionFeatures(table, 40, 1)
    projected = directions.columns(np.arange(40))
    for features, dense in ((sparse(table), table), (DenseFeatures(table), table), (directions, projected)):
        assert features.latents == dense.shape[1]
        np.testing.assert_allclose(features.differences(weights), weights @ dense, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(features.spreads(rows), dense[rows].std(0, dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(features.columns(np.array([5, 2])), dense[:, [5, 2]])
    assert directions.whole() is None
    assert sparse(table).whole().nnz == np.count_nonzero(table)
    # Unit vectors: of one row that is a basis vector, the projections' squares average 1/width.
    assert np.square(DirectionFeatures(np.eye(12), 4000, 0).columns(np.arange(4000))).mean() == pytest.approx(1 / 12)


def test_a_property_that_one_latent_tells_is_told_by_that_latent(table: np.ndarray) -> None:
    has = np.random.default_rng(5).random(N) < 0.2
    known = table.copy()
    known[:, 7] = np.where(has, -2.0, 0.0)
    found = run_probes(marks(known=has), {"itda": sparse(known), "random": sparse(table)}, seed=0)
    told = probes(found)
    assert list(told) == [k for k in KS if k <= LATENTS] + [None]
    assert told[1].accuracy == (1.0, 1.0, 1.0)
    assert (told[1].latents, told[1].signs) == ((7,), (-1,))
    assert (told[1].auc, told[1].precision, told[1].recall) == (1.0, 1.0, 1.0)
    assert told[2].latents[0] == told[5].latents[0] == 7
    assert told[None].accuracy.value == 1.0
    assert told[None].latents == ()
    # The other coder has nothing but chance, and the lead is its difference, drawn together.
    (other,) = [probe for probe in found.properties[0].probes if (probe.coder, probe.k) == ("random", 1)]
    assert other.lead is not None
    assert other.lead.value == pytest.approx(other.accuracy.value - 1)
    assert other.lead.low < other.lead.value < other.lead.high < -0.4
    assert told[1].lead is None
    # Of one property, the mean is itself.
    assert [score.accuracy for score in found.means] == [probe.accuracy for probe in found.properties[0].probes]


@pytest.mark.parametrize("seed", range(4))
def test_labels_drawn_by_lot_are_told_as_often_as_by_guessing(table: np.ndarray, seed: int) -> None:
    has = np.random.default_rng(seed).random(N) < 0.3
    found = run_probes(marks(lot=has), {"itda": sparse(table), "raw": DenseFeatures(table)}, seed=seed)
    for probe in found.properties[0].probes:
        assert abs(probe.accuracy.value - 0.5) < 0.06
        assert probe.accuracy.low - 0.01 < 0.5 < probe.accuracy.high + 0.01
    assert abs(found.properties[0].by_position - 0.5) < 0.06
    assert abs(found.properties[0].by_token - 0.5) < 0.06


def test_the_baselines_know_the_token_and_the_position_alone(table: np.ndarray) -> None:
    coders = {"itda": sparse(table)}
    found = run_probes(marks(early=np.arange(N) % EACH < 8, third=np.arange(N) % 7 == 3), coders, seed=0)
    early, third = found.properties
    assert early.by_position > 0.95
    assert early.by_token < 0.6
    assert third.by_token == 1.0
    assert third.by_position < 0.6
    assert (third.tokens, third.documents) == (np.count_nonzero(np.arange(N) % 7 == 3), DOCUMENTS)


def test_a_third_of_the_documents_is_drawn_for_testing() -> None:
    for seed in range(5):
        is_test = split(DOCUMENTS, seed)
        assert is_test.shape == (DOCUMENTS,)
        assert is_test.sum() == DOCUMENTS // 3
    assert (split(DOCUMENTS, 1) == split(DOCUMENTS, 1)).all()
    assert (split(DOCUMENTS, 1) != split(DOCUMENTS, 2)).any()


def test_what_testing_documents_hold_has_no_part_in_training(table: np.ndarray) -> None:
    """The same training documents give the same latents and signs, whatever the others are labelled."""
    has = table[:, 4] + np.random.default_rng(0).normal(size=N) > 0.8
    is_test = np.repeat(split(DOCUMENTS, 0), EACH)
    turned = np.where(is_test, ~has, has)
    one, other = (run_probes(marks(p=each), {"itda": sparse(table)}, seed=0) for each in (has, turned))
    for a, b in zip(one.properties[0].probes, other.properties[0].probes, strict=True):
        assert (a.latents, a.signs) == (b.latents, b.signs)
        assert a.accuracy.value == pytest.approx(1 - b.accuracy.value)
    # Nor does what their latents are, of which each has a spread.
    stretched = np.where(is_test[:, None], table * np.geomspace(1, 100, LATENTS, dtype=np.float32), table)
    other = run_probes(marks(p=has), {"itda": sparse(stretched)}, seed=0)
    for a, b in zip(one.properties[0].probes, other.properties[0].probes, strict=True):
        assert (a.latents, a.signs) == (b.latents, b.signs)


def test_every_draw_is_of_documents() -> None:
    random = np.random.default_rng(2)
    is_test = split(DOCUMENTS, 0)
    sides = _Sides(marks(), is_test, seed=4)
    n = int(is_test.sum())
    has, said = random.random((2, n * EACH)) < 0.3
    keys = ("itda", 1), ("itda", None)
    found = sides.accuracies(has, dict(zip(keys, (said, has), strict=True)))
    times = np.random.default_rng(4).multinomial(n, np.full(n, 1 / n), size=2000)
    drawn = found[keys[0]].drawn
    assert drawn.shape == (2000,)
    for draw in range(0, 2000, 100):
        weights = np.repeat(times[draw], EACH)
        assert drawn[draw] == pytest.approx(balanced_accuracy_score(has, said, sample_weight=weights))
    assert found[keys[0]].value == pytest.approx(balanced_accuracy_score(has, said))
    assert found[keys[0]].measured[1:] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    assert found[keys[1]].measured == (1, 1, 1)


def test_probes_are_what_scikit_learn_finds_on_the_dense_table(table: np.ndarray) -> None:
    has = table[:, 2] - 0.7 * table[:, 9] + np.random.default_rng(1).normal(size=N) * 0.6 > 0.4
    is_test = np.repeat(split(DOCUMENTS, 0), EACH)
    found = probes(run_probes(marks(p=has), {"itda": sparse(table)}, seed=0))
    statistic, _ = f_classif(table[~is_test].astype(np.float64), has[~is_test])
    order = np.argsort(-statistic)
    assert set(order[:2]) == {2, 9}
    for k in (1, 2, 5):
        assert found[k].latents == tuple(order[:k].tolist())
        means = [table[~is_test & (has == wanted)].mean(0) for wanted in (True, False)]
        assert found[k].signs == tuple(np.sign(means[0] - means[1])[order[:k]].astype(int).tolist())
    scales = {k: table[~is_test][:, order[:k]].std(0) for k in (1, 2, 5)}
    scales[None] = np.sqrt(np.square(table[~is_test]).sum(1).mean())
    for k, scale in scales.items():
        x = (table if k is None else table[:, order[:k]]).astype(np.float64) / scale
        model = LogisticRegression(class_weight="balanced", max_iter=2000, tol=1e-8).fit(x[~is_test], has[~is_test])
        said, score = model.predict(x[is_test]), model.decision_function(x[is_test])
        expected = balanced_accuracy_score(has[is_test], said)
        assert found[k].accuracy.value == pytest.approx(expected, abs=3e-3)
        assert found[k].auc == pytest.approx(roc_auc_score(has[is_test], score), abs=1e-3)
        assert found[k].recall == pytest.approx(said[has[is_test]].mean(), abs=5e-3)
        assert found[k].precision == pytest.approx(has[is_test][said].mean(), abs=5e-3)
        assert found[k].accuracy.low < expected < found[k].accuracy.high


def test_a_latent_that_never_fires_is_chosen_last(table: np.ndarray) -> None:
    silent = table.copy()
    silent[:, 0] = 0
    features, train = sparse(silent), np.ones(N, bool)
    order, differences = choose(features, np.arange(N) % 2 == 0, train, features.spreads(train))
    assert order[-1] == 0
    assert differences[0] == 0
    assert np.isfinite(differences).all()


def test_what_too_few_tokens_have_is_left_out_and_said(table: np.ndarray) -> None:
    rare, here = np.arange(N) == 5, np.arange(N) < 2 * EACH
    labels = {"rare": rare, "all": ~rare, "one place": here, "half": np.arange(N) % 2 == 0}
    found = run_probes(marks(**labels), {"itda": sparse(table)}, seed=0)
    assert [each.name for each in found.properties] == ["half"]
    assert found.left_out.keys() == {"rare", "all", "one place"}
    assert "have it; 50 of 5 are needed" in found.left_out["rare"]
    assert "lack it; 50 of 5 are needed" in found.left_out["all"]
    with pytest.raises(UserError, match="no property can be probed: rare: "):
        run_probes(marks(rare=rare), {"itda": sparse(table)}, seed=0)


@pytest.mark.parametrize("settings", [{"tokens": 0}, {"tokens": 2**31}, {"seed": -1}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"give a whole|probes need"):
        ProbingSettings(**settings)


# The job


@pytest.fixture(scope="module")
def probed(
    build_library: LibraryBuilder, language_reference: list[Document], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A library with one small dictionary, probed, whose corpus goes on far behind what the dictionary read."""
    parts = [
        Document(f"{document.name} {at}", document.text[at : at + 400])
        for document in language_reference
        for at in range(0, len(document.text) - 200, 400)
    ]
    root = build_library(tmp_path_factory.mktemp("probed") / "library", parts, tokens=2500)
    (dictionary_id,) = Library(root).ids()
    assert main(["probe", dictionary_id, "--tokens", "20000", "--library", str(root)]) == 0
    return root


def only(root: Path):
    library = Library(root)
    record = library.record(library.ids()[0])
    return library, record, library.folder(record.id) / PROBING_FILE


def test_the_job_keeps_a_report_of_text_that_the_dictionary_did_not_see(
    probed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, record, path = only(probed)
    report = read_probing(record, path.parent)
    assert report is not None
    assert [each.name for each in report.coders] == ["itda", "random", "raw", "directions"]
    assert [each.latents for each in report.coders] == [record.n_atoms, record.n_atoms, record.d_model, record.n_atoms]
    assert all(0 < each.active <= record.settings.l0 for each in report.coders[:2])
    assert 1000 < report.tokens < report.asked == 20000
    assert 0 < report.test_tokens < report.tokens / 2
    assert {"code", "sentence"} <= {each.name for each in report.properties}
    every = {(score.coder, score.k) for score in report.means}
    assert every == {(c, k) for c in ("itda", "random", "raw", "directions") for k in (*KS, None)} - {
        ("directions", None)
    }
    for each in report.properties:
        assert {(probe.coder, probe.k) for probe in each.probes} == every
        assert each.name not in report.left_out
    # Real activations tell at least when a sentence begins.
    (sentence,) = [each for each in report.properties if each.name == "sentence"]
    assert all(probe.accuracy.value > 0.8 for probe in sentence.probes if probe.k is None)
    # It is read where it is there, and made anew for other tokens.
    root = tmp_path / "library"
    shutil.copytree(probed, root)
    _, record, path = only(root)
    written = path.stat().st_mtime_ns
    capsys.readouterr()
    assert main(["probe", record.id, "--tokens", "20000", "--json", "--library", str(root)]) == 0
    assert Probing.parse({"version": 1, **json.loads(capsys.readouterr().out)}) == report
    assert path.stat().st_mtime_ns == written
    assert main(["probe", record.id, "--tokens", "12000", "--library", str(root)]) == 0
    assert "balanced accuracy on" in capsys.readouterr().out
    assert json.loads(path.read_text())["asked"] == 12000


def test_tokens_are_of_documents_that_were_held_out_and_atoms_of_those_that_were_not(probed: Path) -> None:
    library, record, _ = only(probed)
    corpus, model = Corpus.open(library.corpora / record.corpus), open_model(record, library.root)
    dictionary = Dictionary.load(library.folder(record.id))
    documents = list(corpus.documents())
    with running_job(library.root, "a test", None) as job:
        tokens = read_tokens(record, corpus, model, 1500, job)
        drawn = random_dictionary(TokensOfModel(record, model, corpus), record, 0)
        again = random_dictionary(TokensOfModel(record, model, corpus), record, 0)
    held_out = [document.text for document in documents[9::10]]
    assert 1000 < len(tokens.x) <= 1500
    for document in range(tokens.n_documents):
        mine = tokens.document == document
        ids = model.tokenizer.encode(held_out[document], add_special_tokens=False).ids
        assert tokens.token_id[mine].tolist() == [ids[at] for at in tokens.position[mine]]
        assert 0 not in tokens.position[mine]  # a window's first token is nobody's
    assert len(drawn) == len(dictionary)
    assert not (drawn.sources[:, 0] % 10 == 9).any()
    assert len({tuple(source) for source in drawn.sources.tolist()}) == len(drawn)
    torch.testing.assert_close(drawn.atoms.norm(dim=1), torch.ones(len(drawn)))
    assert torch.equal(drawn.atoms, again.atoms)
    # A place that both chose has the same activation.
    chosen = {tuple(source): atom for source, atom in zip(dictionary.sources.tolist(), dictionary.atoms, strict=True)}
    shared = [
        (chosen[tuple(s)], a) for s, a in zip(drawn.sources.tolist(), drawn.atoms, strict=True) if tuple(s) in chosen
    ]
    assert shared
    for own, other in shared:
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


def test_where_nothing_was_held_out_what_follows_is_read(probed: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    corpus = probed.parent / "library.jsonl"
    options = ["--layers", "3", "--l0", "8", "--threshold", "0.25", "--tokens", "2500", "--no-holdout", "--no-map"]
    assert main(["build", str(MODEL_A), "--corpus", str(corpus), *options, "--library", str(root)]) == 0
    library, record, _ = only(root)
    read, model = Corpus.open(library.corpora / record.corpus), open_model(record, library.root)
    with running_job(library.root, "a test", None) as job:
        tokens = read_tokens(record, read, model, 1500, job)
    after = int(Dictionary.load(library.folder(record.id)).sources[:, 0].max())
    texts = [document.text for document in read.documents()]
    ids = [model.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    position, token_id = (each[tokens.document == 0] for each in (tokens.position, tokens.token_id))
    same = [len(own) > position.max() and [own[at] for at in position] == token_id.tolist() for own in ids]
    assert same.index(True) > after


def test_a_corpus_without_other_text_is_refused_in_a_line(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Library(library).ids()[0]
    assert main(["probe", first, "--library", str(library)]) == 2
    assert "probes need 10: build it on a larger corpus" in capsys.readouterr().err
    assert main(["probe", "no-such-id", "--library", str(library)]) == 2
    assert main(["probe", first, "--tokens", "3", "--library", str(library)]) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda said: said.update(id="another"), "is of another dictionary"),
        (lambda said: said["coders"][0].update(latents=3), "does not have|is of 3 atoms"),
        (lambda said: said["coders"].pop(0), "none of its coders|names a coder twice"),
        (lambda said: said["coders"].append(said["coders"][0]), "twice"),
        (lambda said: said["properties"].append(said["properties"][0]), "twice"),
        (lambda said: said["properties"][0]["probes"][0].update(latents=[10**6]), "does not have"),
        (lambda said: said["properties"][0]["probes"][0].update(signs=[1, 1]), "as many signs"),
        (lambda said: said["properties"][0]["probes"][0].update(signs=[0]), "signs"),
        (lambda said: said["properties"][0]["probes"][0].update(latents=[], signs=[]), "as many latents as it states"),
        (lambda said: said["properties"][0]["probes"][0].update(latents=[0, 1], signs=[1, 1]), "as many latents as"),
        (lambda said: said["properties"][0]["probes"][0].update(k=0), "probes.0.k"),
        (lambda said: said["properties"][0]["probes"][0].update(accuracy=[0.5, 0.6, 0.4]), "an interval from"),
        (lambda said: said["means"][0].update(lead=[0, 1, -1]), "an interval from"),
        (lambda said: said.update(means=[]), "no scores"),
        (lambda said: said.update(properties=[]), "no scores"),
        (lambda said: said["properties"][0].update(probes=[]), "without a probe"),
        (lambda said: said.update(test_tokens=0), "others to test on"),
        (lambda said: said.update(test_tokens=said["tokens"]), "others to test on"),
        (lambda said: said.update(test_documents=0), "others to test on"),
        (lambda said: said["properties"][0].update(test_tokens=0), "of no token or of all"),
        (lambda said: said["properties"][0].update(tokens=said["tokens"]), "of no token or of all"),
        (lambda said: said["properties"][0].update(by_token=2), "by_token"),
        (lambda said: said["means"][0].update(accuracy=[0.5, 0.4]), "damaged"),
        (lambda said: said.update(tokens=-1), "tokens"),
        (lambda said: said.pop("left_out"), "left_out"),
    ],
)
def test_a_damaged_report_is_refused_and_verify_says_so(probed: Path, tmp_path: Path, change, why: str) -> None:
    root = tmp_path / "library"
    shutil.copytree(probed, root)
    library, record, path = only(root)
    assert not any(verify_library(library).values())
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(DamagedError, match=why):
        read_probing(record, path.parent)
    (line,) = verify_library(library)[record.id]
    assert PROBING_FILE in line


def test_a_damaged_report_is_replaced(probed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "library"
    shutil.copytree(probed, root)
    _, record, path = only(root)
    path.write_text("{")
    assert main(["probe", record.id, "--tokens", "6000", "--library", str(root)]) == 0
    assert "probing anew" in capsys.readouterr().err
    assert read_probing(record, path.parent) is not None


@needs_saelens
def test_an_sae_that_cannot_be_read_is_said_and_left_out(
    probed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "library"
    shutil.copytree(probed, root)
    library, record, path = only(root)
    train = ["sae", record.id, "--tokens", "512", "--batch", "128", "--library", str(root)]
    assert main(train) == 0
    (sae_id,) = sae_ids(library)
    weights = sae_folder(library, sae_id) / "sae_weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    written = path.stat().st_mtime_ns
    capsys.readouterr()
    # The report of the rest is whole.
    assert main(["probe", record.id, "--tokens", "20000", "--library", str(root)]) == 0
    assert f"left out: sae_weights.safetensors of SAE {sae_id}" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == written
    # One for other tokens is made without it, and again once it can be read.
    probe = ["probe", record.id, "--tokens", "6000", "--library", str(root)]
    for is_there in (False, True):
        assert main(probe) == 0
        report = read_probing(record, path.parent)
        assert report is not None and report.asked == 6000
        assert (f"sae:{sae_id}" in [each.name for each in report.coders]) == is_there
        if not is_there:
            assert main(train) == 0  # damaged, so it is trained again


def test_a_report_of_other_atoms_is_none(probed: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(probed, root)
    _, record, path = only(root)
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"atoms_sha256": "0" * 64}))
    assert read_probing(record, path.parent) is None
    path.write_text(json.dumps(said | {"version": 0}))
    with pytest.raises(DamagedError, match="probe again"):
        read_probing(record, path.parent)
