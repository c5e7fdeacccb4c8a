"""The job that measures a dictionary, on small libraries built by the whole pipeline; reports that may be anyone's."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from itda_core.cli.command_line import main
from itda_core.cli.evaluate import quality_table
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import DIGEST
from itda_core.common.settings import MeasureSettings
from itda_core.common.types import Document
from itda_core.corpus.windows import is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation import evaluate
from itda_core.evaluation.evaluate import measure
from itda_core.evaluation.held_out import open_tokens, random_dictionary
from itda_core.jobs.job import Job, running_job
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import (
    QUALITY_METRICS,
    Quality,
    Series,
    dictionary_quality,
    paired_differences,
    read_quality,
    write_quality,
)
from tests.support.corpora import write_documents
from tests.support.families import BERT
from tests.support.places import MODEL_A

SMALL = MeasureSettings(l0s=(2, 4), shares=(0.5, 1.0), tokens=200)


def of_layer_3(root: Path) -> DictionaryManifest:
    here = Library(root)
    return next(r for r in map(here.record, here.ids()) if (r.model, r.site.layer) == ("docs-a", 3))


@contextmanager
def job_of(root: Path) -> Iterator[Job]:
    with running_job(root, "a test") as job:
        yield job


def measure_in(root: Path, settings: MeasureSettings = SMALL) -> Quality:
    with job_of(root) as job:
        return measure(Library(root), of_layer_3(root).id, job, settings)


@pytest.fixture(scope="module")
def done(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in which layer 3 of docs-a is measured. Copy it before writing to it."""
    root = Path(shutil.copytree(library, tmp_path_factory.mktemp("measured") / "library"))
    measure_in(root)
    return root


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "library"))


@pytest.fixture(scope="module")
def report(done: Path) -> Quality:
    found = dictionary_quality(Library(done), of_layer_3(done))
    assert found is not None
    return found


def test_what_a_report_has(done: Path, report: Quality) -> None:
    record = of_layer_3(done)
    assert (report.id, report.tokens, report.settings) == (record.id, 200, SMALL)
    assert [series.name for series in report.series] == ["itda", "random"]
    sizes = [round(record.n_atoms / 2), record.n_atoms]
    for series in report.series:  # the dictionary's own L0 is always there
        assert [(p.latents, p.l0) for p in series.points] == [(size, l0) for size in sizes for l0 in (2, 4, 8)]
        for point in series.points:
            assert set(point.measured) == set(QUALITY_METRICS)
            assert 0 < point.measured["l0"].value <= point.l0
            # The score is what the formula makes of the losses beside it.
            ce = point.measured["ce_loss"].value
            assert report.ce_zero is not None and report.ce_original is not None
            score = (ce - report.ce_zero) / (report.ce_original - report.ce_zero)
            assert point.measured["ce_loss_score"].value == pytest.approx(score)
            assert 0 < score < 1 and point.measured["ce_loss_score"].low < score < point.measured["ce_loss_score"].high
    assert Quality.parse(json.loads((Library(done).folder(record.id) / "quality.json").read_text())) == report


def test_the_held_out_error_is_that_of_the_build(library: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(library, tmp_path / "library"))
    record = of_layer_3(root)
    found = measure_in(root, MeasureSettings(l0s=(), shares=(1.0,), tokens=10**6))
    assert found.tokens == record.measured_tokens
    (point,) = found.series[0].points
    assert point.l0 == record.settings.l0
    assert point.measured["relative_error"].value == pytest.approx(record.relative_error, rel=1e-5)


@pytest.mark.slow
def test_random_atoms_come_from_what_the_dictionary_was_built_from(done: Path, report: Quality) -> None:
    record = of_layer_3(done)
    with job_of(done) as job:
        tokens = open_tokens(Library(done), record, job)
    drawn, again, other = (random_dictionary(tokens, record, seed) for seed in (0, 0, 1))
    assert torch.equal(drawn.atoms, again.atoms) and not torch.equal(drawn.sources, other.sources)
    assert len(drawn) == record.n_atoms and len(drawn.sources.unique(dim=0)) == len(drawn)
    assert not any(is_held_out(document) for document in drawn.sources[:, 0].tolist())
    candidates = {tuple(place) for place in tokens.candidates().tolist()}
    held_out = record.measured_tokens
    assert len(candidates) == record.n_tokens - held_out
    assert {tuple(source) for source in drawn.sources.tolist()} <= candidates
    # What both dictionaries took of one place is one activation; and own atoms are among the candidates.
    own = Dictionary.load(Library(done).folder(record.id))
    places = {tuple(source): row for row, source in enumerate(own.sources.tolist())}
    both = [(row, places[tuple(s)]) for row, s in enumerate(drawn.sources.tolist()) if tuple(s) in places]
    assert len(both) > 10 and set(places) <= candidates
    assert all(torch.allclose(drawn.atoms[row], own.atoms[twin], atol=1e-6) for row, twin in both)
    assert report.series[0].points != report.series[1].points


def test_what_is_there_is_read_and_other_settings_measure_anew(
    copy: Path, report: Quality, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = evaluate._measure
    monkeypatch.setattr(evaluate, "_measure", lambda *_: pytest.fail("measured again"))
    assert measure_in(copy) == report
    monkeypatch.setattr(evaluate, "_measure", measured)
    fewer = measure_in(copy, MeasureSettings(l0s=(2,), shares=(1.0,), tokens=100))
    assert fewer.tokens == 100 and len(fewer.series[0].points) == 2
    assert dictionary_quality(Library(copy), of_layer_3(copy)) == fewer


def test_the_command_prints_one_document(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = of_layer_3(copy)
    assert main(["measure", record.id, "--tokens", "100", "--json", "--library", str(copy)]) == 0
    found = Quality.parse({"version": 2, **json.loads(capsys.readouterr().out)})
    assert found.settings == MeasureSettings(tokens=100)
    sizes = sorted({round(record.n_atoms * share) for share in (0.125, 0.25, 0.5, 1)})
    wanted = [(size, l0) for size in sizes for l0 in (8, 10, 20, 40, 80)]
    assert [(point.latents, point.l0) for point in found.series[0].points] == wanted
    assert main(["measure", record.id, "--tokens", "100", "--library", str(copy)]) == 0
    assert capsys.readouterr().out == quality_table(found) + "\n"


def test_the_table_says_what_was_measured(report: Quality) -> None:
    lines = quality_table(report).splitlines()
    assert lines[0] == f"{report.id}: 200 tokens of {report.documents} documents"
    assert lines[1].startswith("CE loss ") and lines[1].endswith(" with zeros")
    assert sum("CE loss score" in line for line in lines) == 2  # for each series
    assert len(lines) == 2 + 2 * (2 + 6)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["no-such"], "there is no dictionary 'no-such'"),
        (["--tokens", "0"], "tokens is 0: it must be at least 1"),
        (["--tokens", "many"], "invalid int value"),
    ],
)
def test_mistakes_are_told_in_one_line(
    library: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if len(arguments) == 1 else [of_layer_3(library).id, *arguments]
    assert main(["measure", *given, "--library", str(library)]) == 2
    assert line in capsys.readouterr().err


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"l0s": (0,)}, {"l0s": (2.5,)}, {"shares": ()}, {"shares": (0,)}, {"shares": (1.5,)}, {"tokens": 0},
        {"seed": -1},
    ):  # fmt: skip
        with pytest.raises(UserError):
            MeasureSettings(**wrong)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Path:
    """A library whose activations are kept, of a nonnegative dictionary of an MLP, and nothing held out."""
    folder = tmp_path_factory.mktemp("kept")
    write_documents(folder / "texts.jsonl", language_reference[:8])
    options = ["--layers", "3", "--hook", "mlp", "--l0", "6", "--threshold", "0.4", "--tokens", "5000", "--no-holdout"]
    more = ["--method", "nonnegative", "--keep-activations", "--max-atoms", "120", "--no-map"]
    root = folder / "library"
    texts = ["--corpus", str(folder / "texts.jsonl")]
    assert main(["build", str(MODEL_A), *texts, *options, *more, "--library", str(root)]) == 0
    return root


def test_where_there_is_no_other_text_what_was_read_is_measured_by_the_method_of_the_build(
    kept: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(kept, tmp_path / "library"))
    found = measure_in(root, MeasureSettings(l0s=(3,), shares=(1.0,)))
    record = of_layer_3(root)
    assert (found.tokens, found.is_seen) == (record.n_tokens, True)
    assert found.sources == tuple(range(8))
    for series in found.series:
        assert [point.measured["negative"].value for point in series.points] == [0, 0]
    assert found.series[0].points[1].measured["relative_error"].value == pytest.approx(
        of_layer_3(root).relative_error, rel=1e-3
    )


def test_where_nothing_was_held_out_the_text_after_what_was_read_is_measured(
    tmp_path: Path, language_reference: list[Document]
) -> None:
    texts, root = tmp_path / "texts.jsonl", tmp_path / "library"
    write_documents(texts, language_reference[:12])
    options = ["--layers", "3", "--l0", "6", "--threshold", "0.4", "--tokens", "600", "--no-holdout", "--no-map"]
    assert main(["build", str(MODEL_A), "--corpus", str(texts), *options, "--library", str(root)]) == 0
    found = measure_in(root, MeasureSettings(l0s=(3,), shares=(1.0,), tokens=300))
    here, record = Library(root), of_layer_3(root)
    with job_of(root) as job:
        read = set(open_tokens(here, record, job).candidates()[:, 0].tolist())
    assert (found.tokens, found.is_seen) == (300, False)
    assert min(found.sources) == max(read) + 1  # neither its atoms nor random ones can be of these
    own, other = (series.points[0] for series in found.series)
    assert set(own.by_document) == {"ce_loss_score", "variance_explained"}
    by = paired_differences(own, found, other, found)["ce_loss_score"]
    scores = [point.measured["ce_loss_score"].value for point in (own, other)]
    assert by.value == pytest.approx(scores[0] - scores[1])
    assert by.low <= by.value <= by.high
    assert paired_differences(own, found, own, found)["variance_explained"] == (0, 0, 0)


def test_without_the_model_reconstruction_is_measured_on_what_was_kept(kept: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(kept, tmp_path / "library"))
    with_model = measure_in(root, MeasureSettings(l0s=(), shares=(1.0,)))
    manifest = Library(root).folder(of_layer_3(root).id) / "manifest.json"
    sound = manifest.read_text()
    manifest.write_text(sound.replace('"weights_sha256": "', '"weights_sha256": null, "were": "'))
    shutil.rmtree(root / "jobs")
    (Library(root).folder(of_layer_3(root).id) / "quality.json").unlink()
    without = measure_in(root, MeasureSettings(l0s=(), shares=(1.0,)))
    assert (without.ce_original, without.ce_zero) == (None, None)
    predicted = {"ce_loss", "ce_loss_score", "kl"}
    for a, b in zip(with_model.series, without.series, strict=True):
        (one,), (two,) = a.points, b.points
        assert set(one.measured) - set(two.measured) == predicted
        for name in ("relative_error", "variance_explained"):  # kept in half precision
            assert two.measured[name].value == pytest.approx(one.measured[name].value, abs=2e-3), name
    manifest.write_text(sound)
    again = measure_in(root, MeasureSettings(l0s=(), shares=(1.0,)))  # the model is here: measured anew
    assert again.series == with_model.series and again.ce_zero == with_model.ce_zero


def test_with_neither_the_model_nor_its_activations_it_says_why(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = of_layer_3(copy)
    folder = Library(copy).folder(record.id)
    (folder / "quality.json").unlink()
    sound = (folder / "manifest.json").read_text()
    for changed, line in (
        (sound.replace('"model": "docs-a"', '"model": "no-such-model"'), "the folder of the model no-such-model"),
        (sound.replace(f'"weights_sha256": "{record.weights_sha256}"', '"weights_sha256": null'), "ran on a server"),
    ):
        (folder / "manifest.json").write_text(changed)
        assert main(["measure", record.id, "--library", str(copy)]) == 2
        assert line in capsys.readouterr().err.splitlines()[-1]
    assert read_quality(folder) is None


def changed_reports(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a report → its text, one way after another."""
    text = json.dumps(said)
    yield "cut short", text[: len(text) // 2]
    yield "no object", "[]"
    for name in said:
        yield f"without {name}", json.dumps({key: value for key, value in said.items() if key != name})
    for name, value in (
        ("version", "3"), ("tokens", -1), ("tokens", 10**30), ("tokens", 1.5), ("documents", "many"), ("seconds", None),
        ("ce_original", True), ("ce_zero", "high"), ("series", [{"name": "itda"}]), ("settings", {"tokens": 0}),
        ("settings", []), ("is_seen", 1), ("sources", [9]),
        ("by_document", {"ce_loss_score": [1]}),
    ):  # fmt: skip
        yield f"{name} {value}", json.dumps(said | {name: value})
    for name, value in (
        ("relative_error", [-1, -1, -1]), ("dead", [2, 0, 1]), ("density", [0.1, 0.3, 0.2]), ("kl", [0.1, 0.1]),
        ("l0", [1, 1, "x"]), ("variance_explained", [1.5, 1, 2]),
    ):  # fmt: skip
        changed = json.loads(text)
        changed["series"][0]["points"][0]["measured"][name] = value
        yield f"{name} {value}", json.dumps(changed)
    changed = json.loads(text)
    del changed["series"][0]["points"][0]["by_document"]
    yield "a point without by_document", json.dumps(changed)
    yield "infinity", text.replace(f'"seconds": {said["seconds"]}', '"seconds": 1e999')
    yield "another's", json.dumps(said | {"of_sha256": "0" * 64})
    yield "of another id", json.dumps(said | {"id": "another"})
    changed = json.loads(text)
    changed["series"][0]["points"][-1]["latents"] += 1
    yield "more atoms than there are", json.dumps(changed)


def test_damaged_reports_are_refused_in_one_line_verified_and_measured_anew(
    copy: Path, report: Quality, capsys: pytest.CaptureFixture[str]
) -> None:
    here, record = Library(copy), of_layer_3(copy)
    path = here.folder(record.id) / "quality.json"
    said = json.loads(path.read_text())
    del said[DIGEST]  # without it the report is sound
    ways = 0
    for what, text in changed_reports(said):
        path.write_text(text)
        with pytest.raises(DamagedError, match=r"damaged|not valid JSON|of another dictionary") as refused:
            dictionary_quality(here, record)
        assert "\n" not in str(refused.value), what
        ways += 1
    assert ways == 2 + len(said) + 14 + 6 + 5
    assert main(["verify", "--library", str(copy)]) == 1
    assert f"{record.id}: quality.json of {record.id} is of another dictionary" in capsys.readouterr().out
    again = measure_in(copy)
    assert again.series == report.series
    assert main(["verify", "--library", str(copy)]) == 0
    assert not any(here.verify(record.id))  # a report is no part of what was built


def test_an_earlier_report_is_none_and_no_damage(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here, record = Library(copy), of_layer_3(copy)
    path = here.folder(record.id) / "quality.json"
    path.write_text(json.dumps({"version": 1, "id": record.id, "tokens": 1}))
    assert dictionary_quality(here, record) is None
    assert main(["verify", "--library", str(copy)]) == 0
    assert measure_in(copy).tokens > 1
    assert json.loads(path.read_text())["version"] == 2


def test_a_report_without_predictions_is_a_report(tmp_path: Path, report: Quality) -> None:
    points = tuple(
        point.__class__(point.latents, point.l0, {"l0": point.measured["l0"]}, {}) for point in report.series[0].points
    )
    bare = Quality("x", 1, 1, None, None, (Series("sae", points),), 0.5)
    write_quality(bare, tmp_path)
    assert read_quality(tmp_path) == bare
    assert "CE" not in quality_table(bare)


def test_of_a_model_that_predicts_nothing_reconstruction_is_measured(
    language_reference: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = BERT.save(tmp_path / "models" / "small-bert")
    monkeypatch.setenv("ITDA_MODELS", str(folder.parent))
    root, texts = tmp_path / "library", tmp_path / "texts.jsonl"
    write_documents(texts, language_reference[:20])
    options = ["--layers", "1", "--l0", "4", "--context", "40", "--tokens", "600", "--library", str(root)]
    assert main(["build", str(folder), "--corpus", str(texts), "--no-map", *options]) == 0
    (dictionary_id,) = Library(root).ids()
    with job_of(root) as job:
        settings = MeasureSettings(l0s=(2,), shares=(1.0,), tokens=50)
        found = measure(Library(root), dictionary_id, job, settings)
        assert found.with_model
        assert measure(Library(root), dictionary_id, job, settings).seconds == found.seconds  # read, not measured again
    assert found.ce_original is None and found.tokens == min(50, Library(root).record(dictionary_id).measured_tokens)
    for series in found.series:
        assert set(series.points[0].measured) >= {"relative_error", "variance_explained", "l0", "dead"}
