"""SAEs: as coders, trained, kept, fetched. SAELens itself is the reference: nothing of it is imitated here."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import read_json, write_json
from itda_core.common.keys import sources_of
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.settings import MeasureSettings, SaeSettings
from itda_core.common.types import Site
from itda_core.evaluation.metrics import HeldOut
from itda_core.evaluation.sae import coder as sae_coder
from itda_core.evaluation.sae import run as saes
from itda_core.evaluation.sae import saelens
from itda_core.evaluation.sae.coder import SaeCoder
from itda_core.evaluation.sae.hooks import check_site
from itda_core.evaluation.sae.run import load_coder, train_sae
from itda_core.evaluation.sae.training import Mark, train
from itda_core.jobs.job import running_job
from itda_core.library.library import Library
from itda_core.reports.quality import QUALITY_FILE, read_quality, write_quality
from itda_core.reports.sae import SaeRecord, sae_folder, sae_ids, sae_record, sae_records
from tests.support.hub_server import Hub, hub_environment, serve
from tests.support.processes import run_python
from tests.support.saelens import needs_saelens

pytestmark = needs_saelens

SMALL = ("--tokens", "4096", "--batch", "256")


def make_sae(architecture: str, normalize: str = "none", d_in: int = 6, d_sae: int = 10, **more: object) -> object:
    """An SAE of SAELens with weights by lot."""
    from sae_lens import SAE

    torch.manual_seed(0)
    cfg = {"architecture": architecture, "d_in": d_in, "d_sae": d_sae, "normalize_activations": normalize, **more}
    sae = SAE.from_dict(cfg)
    with torch.no_grad():
        for weight in sae.parameters():
            weight.copy_(torch.randn(weight.shape))
    return sae


def test_codes_of_a_standard_sae_by_hand() -> None:
    sae = make_sae("standard", d_in=2, d_sae=3)
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]))
        sae.b_enc.copy_(torch.tensor([0.0, -1.0, 0.0]))
        sae.W_dec.copy_(torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        sae.b_dec.copy_(torch.tensor([1.0, 0.0]))
    coder = SaeCoder(sae)
    # (3, 1) − b_dec = (2, 1): before ReLU (2, 0, −2), so latent 0 alone. (0, 3) − b_dec = (−1, 3): (−1, 2, 1).
    codes = coder.encode(torch.tensor([[3.0, 1.0], [0.0, 3.0]]))
    assert codes.row.tolist() == [0, 1, 1]
    assert codes.atom.tolist() == [0, 1, 2]
    assert codes.coefficient.tolist() == [2.0, 2.0, 1.0]
    # 2·(2, 0) + b_dec; 2·(0, 2) + 1·(1, 1) + b_dec; of a third activation without codes, b_dec alone.
    assert coder.decode(codes, 3).tolist() == [[5.0, 0.0], [2.0, 5.0], [1.0, 0.0]]


@pytest.mark.parametrize("normalize", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize(
    ("architecture", "more"),
    [("standard", {}), ("topk", {"k": 3}), ("topk", {"k": 3, "rescale_acts_by_decoder_norm": True}), ("jumprelu", {}),
     ("gated", {})],
)  # fmt: skip
def test_a_coder_gives_the_saes_own_output(
    architecture: str, more: dict, normalize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sae_coder, "_ROWS", 16)
    sae = make_sae(architecture, normalize, **more)
    x = 3 * torch.randn(50, 6) + 1
    coder = SaeCoder(sae)
    codes = coder.encode(x)
    found = coder.decode(codes, len(x))
    with torch.no_grad():
        own = torch.cat([sae(x[first : first + 16]) for first in range(0, len(x), 16)])
    assert torch.equal(found, own)
    assert torch.equal(coder.decode(codes, len(x)), own)  # twice: SAELens forgets the scales when it decodes
    assert (codes.coefficient != 0).all()
    assert (codes.coefficient > 0).all() or architecture == "jumprelu"
    if architecture == "topk":
        assert max(codes.row.tolist().count(row) for row in range(50)) <= 3


def test_a_coder_refuses_what_it_cannot_code() -> None:
    coder = SaeCoder(make_sae("standard", "layer_norm"))
    with pytest.raises(ValueError, match="not finite"):
        coder.encode(torch.full((2, 6), torch.nan))
    with pytest.raises(ValueError, match=r"\[n, 6\]"):
        coder.encode(torch.zeros(2, 5))
    codes = coder.encode(torch.randn(4, 6))
    with pytest.raises(ValueError, match="encode them first"):
        coder.decode(codes, 5)
    empty = SaeCoder(make_sae("standard"))
    assert empty.decode(empty.encode(torch.zeros(0, 6)), 0).shape == (0, 6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["topk", "standard"])
def test_training_is_saelens_own_and_lowers_the_error(kind: str, activations: torch.Tensor) -> None:
    x = activations
    looked: list[Mark] = []

    def look(mark: Mark) -> None:
        time.sleep(0.3)
        looked.append(mark)

    settings = SaeSettings(kind=kind, tokens=60_000, batch=100, lr=3e-3)
    start = time.perf_counter()
    found = train(x, settings, 48, 6, {}, (100, 150, 10_000, 60_000), look)
    whole = time.perf_counter() - start
    assert [mark.tokens for mark in looked] == [100, 200, 10_000, 60_000]
    assert (found.tokens, found.distinct) == (60_000, 600)
    assert found.seconds < whole - 4 * 0.3  # the clock stood still while marks were looked at
    assert [mark.seconds for mark in looked] == sorted(mark.seconds for mark in looked)

    def error(sae: object) -> float:
        coder = SaeCoder(sae)
        return float((x - coder.decode(coder.encode(x), len(x))).pow(2).sum())

    assert error(found.sae) < 0.5 * error(looked[0].sae)
    assert error(found.sae) < {"topk": 0.2, "standard": 0.5}[kind] * float((x - x.mean(0)).pow(2).sum())
    assert error(looked[-1].sae) == error(found.sae)


@pytest.mark.parametrize("kind", ["topk", "standard"])
def test_the_same_training_gives_the_same_sae(kind: str, activations: torch.Tensor) -> None:
    settings = SaeSettings(kind=kind, tokens=1_000, batch=100, lr=3e-3)
    one, other = (train(activations[:570], settings, 48, 6, {}) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.sae.parameters(), other.sae.parameters(), strict=True))
    # Two passes of 500 each, of which 70 are left out of the first and others, most of them, of the second.
    assert one.tokens == 1_000 and 500 < one.distinct <= 570
    few = train(activations, SaeSettings(kind=kind, tokens=250, batch=100), 48, 6, {})
    assert (few.tokens, few.distinct) == (300, 300)


@pytest.mark.slow
def test_a_standard_sae_is_steered_to_the_l0_wanted(activations: torch.Tensor) -> None:
    settings = SaeSettings(kind="standard", tokens=80_000, batch=100, lr=2e-3)
    for wanted in (4, 12):
        found = train(activations, settings, 48, wanted, {})
        assert len(SaeCoder(found.sae).encode(activations).row) / 600 == pytest.approx(wanted, rel=0.25)


def test_what_is_trained_is_folded_for_activations_as_they_are(activations: torch.Tensor) -> None:
    # SAELens trains on activations times a scale: the copy must give the trainer's SAE's output, scaled back.
    sae = saelens.new_sae("topk", 24, 48, 6, 1.0, {})
    trainer = saelens.new_trainer(sae, 0.37, samples=600, batch=100, lr=1e-3, warm_up=1, decay=1, dead_after=5)
    for first in range(0, 500, 100):
        trainer.step(activations[first : first + 100])
    with torch.no_grad():
        expected = sae(activations * 0.37) / 0.37
        torch.testing.assert_close(saelens.trained(trainer)(activations), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"kind": "relu"}, {"tokens": 0}, {"batch": True}, {"lr": float("nan")}, {"lr": 0}, {"tokens": 10}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        SaeSettings(**wrong)


def test_too_few_activations_and_too_large_a_k_are_refused(activations: torch.Tensor) -> None:
    with pytest.raises(UserError, match="fewer than a step"):
        train(activations, SaeSettings(), 48, 6, {})
    with pytest.raises(UserError, match="no more latents"):
        train(activations, SaeSettings(batch=100), 5, 6, {})


@pytest.fixture(scope="module")
def with_saes(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A library with a TopK and a standard SAE beside its dictionary of layer 3 of model A."""
    root = tmp_path_factory.mktemp("saes") / "library"
    shutil.copytree(library, root)
    dictionary = next(i for i in Library(root).ids() if i.startswith("docs-a-l3"))
    for kind in ("topk", "standard"):
        assert main(["sae", dictionary, "--kind", kind, *SMALL, "--library", str(root), "--json"]) == 0
    return Library(root)


@pytest.fixture
def copied(with_saes: Library, tmp_path: Path) -> Library:
    """A copy of that library, to write to."""
    root = tmp_path / "library"
    shutil.copytree(with_saes.root, root)
    return Library(root)


def only(library: Library, kind: str) -> SaeRecord:
    return next(r for r in sae_records(library) if isinstance(r, SaeRecord) and r.kind == kind and r.release is None)


def test_a_trained_sae_is_kept_with_what_made_it(with_saes: Library) -> None:
    for kind in ("topk", "standard"):
        record = only(with_saes, kind)
        dictionary = with_saes.record(record.dictionary)
        assert record.width == dictionary.n_atoms
        assert record.k == dictionary.settings.l0
        assert record.is_of(dictionary)
        others = [with_saes.record(each) for each in with_saes.ids() if each != dictionary.id]
        assert others and not any(record.is_of(other) for other in others)  # another layer, another model
        for changed in ({"weights_sha256": "0" * 64}, {"tokenizer_sha256": "0" * 64}, {"site": Site(3, "mlp")}):
            assert not record.is_of(replace(dictionary, **changed))
        assert record.tokens == 4096
        assert record.distinct_tokens is not None and record.distinct_tokens < dictionary.n_tokens
        assert SaeRecord.parse(record.id, json.loads(json.dumps(record.manifest()))) == record
        from sae_lens import SAE

        own = SAE.load_from_disk(sae_folder(with_saes, record.id))  # SAELens reads it without us
        assert own.cfg.metadata.model_name == "docs-a"
        assert own.cfg.metadata.hook_name == "blocks.3.hook_resid_post"


def test_its_report_is_measured_on_held_out_tokens_as_dictionaries_are(with_saes: Library) -> None:
    record = only(with_saes, "topk")
    quality = read_quality(sae_folder(with_saes, record.id))
    assert quality is not None and quality.id == record.id
    (series,) = quality.series
    (point,) = series.points
    assert (series.name, point.latents, point.l0) == ("sae", record.width, record.k)
    assert point.measured["l0"].value <= record.k
    assert point.measured["ce_loss_score"].value < 1
    assert quality.ce_original < quality.ce_zero
    standard = read_quality(sae_folder(with_saes, only(with_saes, "standard").id))
    assert standard is not None
    assert standard.tokens == quality.tokens
    (point,) = standard.series[0].points
    assert point.l0 == round(point.measured["l0"].value)


def test_the_same_command_trains_no_second_time(with_saes: Library, capsys: pytest.CaptureFixture[str]) -> None:
    record = only(with_saes, "topk")
    weights = sae_folder(with_saes, record.id) / "sae_weights.safetensors"
    before = weights.stat().st_mtime_ns
    capsys.readouterr()
    command = ["sae", record.dictionary, "--kind", "topk", *SMALL, "--library", str(with_saes.root)]
    assert main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["id"] == record.id
    assert said["quality"]["series"][0]["name"] == "sae"
    assert weights.stat().st_mtime_ns == before
    assert main(command) == 0
    assert "CE loss score" in capsys.readouterr().out


def test_a_report_that_is_damaged_or_less_than_can_be_measured_is_replaced(
    copied: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    record = only(copied, "topk")
    folder = sae_folder(copied, record.id)
    whole = read_quality(folder)
    assert whole is not None and whole.ce_original is not None
    command = ["sae", record.dictionary, "--kind", "topk", *SMALL, "--library", str(copied.root)]
    (series,) = whole.series
    (point,) = series.points
    poorer = replace(whole, ce_original=None, ce_zero=None, with_model=False)
    poor = replace(point, measured={"l0": point.measured["l0"]})
    for report, said in (
        ({"version": 0}, "measuring anew: quality.json is damaged ('0' is no number of a format)"),
        ({"version": 1}, ""),  # an earlier one is none
        (replace(poorer, series=(replace(series, points=(poor,)),)), ""),
        (replace(whole, settings=MeasureSettings(tokens=5), tokens=5), ""),
    ):
        if isinstance(report, dict):
            write_json(folder / QUALITY_FILE, report)
        else:
            write_quality(report, folder)
        capsys.readouterr()
        assert main(command) == 0
        assert said in capsys.readouterr().err
        assert replace(read_quality(folder), seconds=whole.seconds) == whole
    # Where the model is not here, what there is stays.
    write_quality(poorer, folder)
    dictionary = copied.record(record.dictionary)
    path = copied.folder(dictionary.id) / MANIFEST_FILE
    write_json(path, read_json(path) | {"revision": "0" * 40})
    with running_job(copied.root, "a test", None) as job:
        found = train_sae(copied, dictionary.id, job, SaeSettings(tokens=4096, batch=256))
    assert found == record
    assert read_quality(folder) == poorer


class Drawn:
    """Tokens whose activation at document d and position p is (d, p, 0, …)."""

    def __init__(self, d_model: int) -> None:
        self._d_model = d_model

    def candidates(self) -> np.ndarray:
        return np.stack([np.arange(100) // 10, np.arange(100) % 10], 1)

    def read(self, wanted: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        assert (np.diff(wanted) > 0).all()
        for at in np.array_split(np.arange(len(wanted)), 3):
            x = torch.zeros(len(at), self._d_model)
            x[:, :2] = torch.from_numpy(sources_of(wanted[at])).float()
            yield at, x

    def held_out(self, tokens: int) -> Iterator[HeldOut]:
        return iter(())


def test_no_more_activations_are_held_than_training_sees(with_saes: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    record = with_saes.record(only(with_saes, "topk").dictionary)
    tokens = Drawn(record.d_model)
    with running_job(with_saes.root, "a test", None) as job:
        all_, few, again, other = (
            saes._built_from(tokens, record, job, most, seed) for most, seed in ((100, 0), (30, 0), (30, 0), (30, 1))
        )
        monkeypatch.setattr(saes, "machine_memory", lambda: 29 * 4 * record.d_model)
        with pytest.raises(UserError, match=r"30 activations take .* lower --tokens"):
            saes._built_from(tokens, record, job, 30, 0)
    places = [[tuple(row) for row in x[:, :2].int().tolist()] for x in (all_, few, again, other)]
    assert places[0] == list(map(tuple, tokens.candidates().tolist()))
    assert all(len(set(each)) == 30 and set(each) < set(places[0]) for each in places[1:])
    assert places[1] == sorted(places[1]) == places[2] != places[3]
    assert {document for document, _ in places[1]} > {0, 9}  # from all over the text


def test_what_could_not_be_read_again_is_not_kept(copied: Library) -> None:
    before = sorted(path.name for path in copied.saes.iterdir())
    record = copied.record(only(copied, "topk").dictionary)
    made = make_sae("topk", d_in=192, k=3)
    with pytest.raises(DamagedError, match="k: Input should be a valid integer"):
        saes._write(copied, record, "another", made, {"kind": "topk", "k": "many"})
    assert sorted(path.name for path in copied.saes.iterdir()) == before
    saes._write(copied, record, "another", made, {"kind": "topk", "k": 3})
    assert sorted(path.name for path in copied.saes.iterdir()) == sorted([*before, "another"])
    path = sae_folder(copied, "another") / MANIFEST_FILE
    write_json(path, read_json(path) | {"kind": "standard"})
    with pytest.raises(DamagedError, match="another kind or size"):
        load_coder(copied, "another")


def test_verify_tells_a_changed_sae(copied: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library, root = copied, copied.root
    record = only(library, "topk")
    capsys.readouterr()
    assert main(["verify", "--library", str(root), "--json"]) == 0
    assert record.id in json.loads(capsys.readouterr().out)["checked"]
    weights = sae_folder(library, record.id) / "sae_weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    quality = read_json(sae_folder(library, only(library, "standard").id) / "quality.json")
    write_json(sae_folder(library, only(library, "standard").id) / "quality.json", quality | {"id": "another"})
    assert main(["verify", "--library", str(root), "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert problems[record.id] == ["sae_weights.safetensors is not the file that was written"]
    assert "is of another SAE" in problems[only(library, "standard").id][0]
    with pytest.raises(DamagedError, match="not the file that was written"):
        load_coder(library, record.id)
    command = ["sae", record.dictionary, "--kind", "topk", *SMALL, "--library", str(root), "--json"]
    assert main(command) == 0  # damaged, so it is trained again: to the same weights
    assert load_coder(library, record.id).latents == record.width


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 0), ("width", True), ("k", "3"), ("kind", 3), ("layer", -1), ("hook", "nowhere"), ("seconds", -1),
     ("cut", {"context": 1}), ("settings", {"kind": "topk", "lr": 0}), ("files", {}), ("id", "another")],
)  # fmt: skip
def test_a_damaged_manifest_is_told(with_saes: Library, name: str, value: object) -> None:
    record = only(with_saes, "topk")
    with pytest.raises(DamagedError, match="is damaged"):
        SaeRecord.parse(record.id, record.manifest() | {name: value})


def test_folders_that_are_no_saes_are_told_and_passed_over(copied: Library) -> None:
    library = copied
    (library.saes / "broken").mkdir()
    (library.saes / ".hidden.part").mkdir()
    assert sae_ids(library)[0] == "broken"
    assert sae_records(library)[-1].id == "broken"
    with pytest.raises(UserError, match="there is no SAE"):
        sae_record(library, "../dictionaries")


def test_an_sae_that_is_a_strangers_is_read_as_data(with_saes: Library, tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    shutil.copytree(sae_folder(with_saes, only(with_saes, "topk").id), folder)
    config = read_json(folder / "cfg.json")
    for wrong in ({"architecture": "nothing"}, {"d_sae": 7}, []):
        write_json(folder / "cfg.json", config | wrong if wrong else wrong)
        with pytest.raises(DamagedError, match="cannot be read as an SAE"):
            saelens.load_sae(folder)
    for k in ("many", 32.0, True, 0, config["d_sae"] + 1):
        write_json(folder / "cfg.json", config | {"k": k})
        with pytest.raises(DamagedError, match=f"has '{k}' as the number of active latents"):
            saelens.load_sae(folder)
    write_json(folder / "cfg.json", config)
    assert saelens.load_sae(folder).cfg.k == config["k"]


@pytest.mark.parametrize("normalize", ["expected_average_only_in", "covariance_whitening"])
def test_a_scale_that_is_not_kept_is_refused(normalize: str, tmp_path: Path) -> None:
    # SAELens runs it without: activations go in as they are, and what comes out is not what the SAE was trained for.
    saelens.save_sae(make_sae("standard", normalize), tmp_path)
    with pytest.raises(DamagedError, match=f"scaled first \\({normalize}\\)"):
        saelens.load_sae(tmp_path)
    folded = make_sae("standard", normalize)
    if normalize == "expected_average_only_in":
        folded.fold_activation_norm_scaling_factor(2.0)
    else:
        folded.fold_activation_whitening(torch.zeros(6), torch.eye(6), torch.eye(6))
    saelens.save_sae(folded, tmp_path)
    assert saelens.load_sae(tmp_path).cfg.d_in == 6


def test_an_sae_of_another_site_is_refused(with_saes: Library) -> None:
    dictionary = with_saes.record(only(with_saes, "topk").dictionary)

    def sae(**metadata: object) -> object:
        made = make_sae("topk", d_in=192, k=3, metadata=metadata)
        return made

    check_site(sae(), dictionary, "it")
    check_site(sae(model_name="docs-a", hook_name="blocks.3.hook_resid_post"), dictionary, "it")
    check_site(sae(model_name="someone/Docs-A", hook_name="blocks.4.hook_resid_pre"), dictionary, "it")
    for metadata, line in (
        ({"model_name": "docs-b"}, "it is of the model docs-b"),
        ({"hook_name": "blocks.2.hook_resid_post"}, "it is of blocks.2.hook_resid_post"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": True}}, "center_writing_weights"),
    ):
        with pytest.raises(UserError, match=line):
            check_site(sae(**metadata), dictionary, "it")
    with pytest.raises(UserError, match="width 6"):
        check_site(make_sae("topk", k=3), dictionary, "it")
    with pytest.raises(UserError, match="matching_pursuit"):
        check_site(make_sae("matching_pursuit", d_in=192), dictionary, "it")


@pytest.fixture(scope="module")
def hub(with_saes: Library, tmp_path_factory: pytest.TempPathFactory) -> "Hub":
    folder = tmp_path_factory.mktemp("hub")
    repository = folder / "models" / "someone" / "small-saes"
    record = only(with_saes, "topk")
    for name in ("blocks.3.hook_resid_post", "blocks.1.hook_resid_post", "scaled", "many", "list", "tanh"):
        (repository / name).mkdir(parents=True)
        for file in record.files:
            shutil.copy(sae_folder(with_saes, record.id) / file, repository / name / file)
    config = read_json(repository / "scaled" / "cfg.json")
    write_json(repository / "scaled" / "cfg.json", config | {"normalize_activations": "expected_average_only_in"})
    write_json(repository / "many" / "cfg.json", config | {"k": "many"})
    write_json(repository / "list" / "cfg.json", [])
    write_json(repository / "tanh" / "cfg.json", config | {"activation_fn_str": "tanh-relu"})
    config["metadata"]["hook_name"] = "blocks.1.hook_resid_post"
    write_json(repository / "blocks.1.hook_resid_post" / "cfg.json", config)
    with serve(folder) as served:
        yield served


ONE_AFTER_ANOTHER = """
import contextlib, io, json, sys, time
from itda_core.cli.command_line import main
time.sleep = lambda seconds: None  # the Hub's client tries again, later each time
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def run_sae(library: Library, environment: dict[str, str], *each: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of `itda sae` with each of these, in one process: importing SAELens takes long."""
    dictionary = only(library, "topk").dictionary
    commands = [["sae", dictionary, *more, "--library", str(library.root), "--json"] for more in each]
    done = run_python(ONE_AFTER_ANOTHER, json.dumps(commands), env=environment)
    assert done.returncode == 0, done.stderr  # nothing but an exit status came out of any of them
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_a_pretrained_sae_comes_from_the_hub(with_saes: Library, hub: Hub, tmp_path: Path) -> None:
    named = ("--release", "someone/small-saes", "--sae-id")
    refused = (
        ((*named, "blocks.1.hook_resid_post"), "is of blocks.1.hook_resid_post, docs-a-l3-resid"),
        ((*named, "blocks.9.hook_resid_post"), "has no SAE 'blocks.9.hook_resid_post'"),
        ((*named, "scaled"), "is for activations that are scaled first (expected_average_only_in), and does not say"),
        ((*named, "many"), "has 'many' as the number of active latents"),
        ((*named, "list"), "someone/small-saes list cannot be loaded"),
        ((*named, "tanh"), "tanh cannot be loaded: its activation_fn_str is 'tanh-relu', which is not computed here"),
        (("--release", "someone/nothing", "--sae-id", "x"), "someone/nothing"),
        (("--release", "nothing", "--sae-id", "x"), "Release nothing not found"),
        ((*named, "x", "--k", "3"), "leave --k out"),
        (("--release", "nothing"), "both --release and --sae-id"),
    )
    before = set(with_saes.saes.iterdir())
    (status, out, err), *others = run_sae(
        with_saes,
        hub.environment(tmp_path),
        (*named, "blocks.3.hook_resid_post"),
        *(arguments for arguments, _ in refused),
    )
    assert status == 0, err
    said = json.loads(out)
    for (_, line), (status, _, err) in zip(refused, others, strict=True):
        assert status == 2, err
        assert line in err.strip().splitlines()[-1]
        assert "Traceback" not in err
    assert set(with_saes.saes.iterdir()) - before == {with_saes.saes / said["id"]}
    record = sae_record(with_saes, said["id"])
    assert (record.release, record.sae_id) == ("someone/small-saes", "blocks.3.hook_resid_post")
    assert record.settings is None and record.tokens is None
    trained = only(with_saes, "topk")
    # The same weights on the same tokens: the same report.
    own = read_quality(sae_folder(with_saes, trained.id))
    assert own is not None
    assert said["quality"]["series"][0]["points"][0]["measured"]["ce_loss_score"][0] == pytest.approx(
        own.series[0].points[0].measured["ce_loss_score"].value, abs=1e-6
    )


def test_a_hub_that_cannot_be_reached_is_told(with_saes: Library, tmp_path: Path) -> None:
    environment = hub_environment("http://127.0.0.1:9", tmp_path)
    arguments = ("--release", "someone/small-saes", "--sae-id", "other")
    ((status, _, err),) = run_sae(with_saes, environment, arguments)
    assert status == 2, err
    assert "the Hub cannot be reached" in err.strip().splitlines()[-1]


def test_without_saelens_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saelens.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'itda-explorer\[sae\]'"):
        saelens.require_saelens()


def test_records_of_no_library_are_none(tmp_path: Path) -> None:
    assert sae_records(Library(tmp_path / "nothing")) == []
    assert list(tmp_path.iterdir()) == []
