"""SAEs: as coders, trained, kept, fetched. SAELens itself is the reference: nothing of it is imitated here."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from hub_server import Hub, hub_environment, serve

from itda_core.cli import main
from itda_core.files import read_json, write_json
from itda_core.library import Library
from itda_core.quality import read_quality
from itda_core.sae_records import SaeRecord, SaeSettings, sae_folder, sae_ids, sae_record, sae_records
from itda_core.types import DamagedError, UserError

pytest.importorskip("sae_lens", reason="SAELens is not installed: pip install -e '.[sae]'")

from itda_core.evaluation import sae_coder, saelens
from itda_core.evaluation.sae import load_coder
from itda_core.evaluation.sae_coder import SaeCoder
from itda_core.evaluation.sae_sites import check_site
from itda_core.evaluation.sae_training import Mark, train

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


@pytest.mark.parametrize("kind", ["topk", "standard"])
def test_training_is_saelens_own_and_lowers_the_error(kind: str, activations: torch.Tensor) -> None:
    x = activations
    looked: list[Mark] = []

    def look(mark: Mark) -> None:
        time.sleep(0.3)
        looked.append(mark)

    settings = SaeSettings(kind, tokens=60_000, batch=100, lr=3e-3)
    start = time.perf_counter()
    found = train(x, settings, 48, 6, {}, (100, 150, 10_000, 60_000), look)
    whole = time.perf_counter() - start
    assert [mark.tokens for mark in looked] == [100, 200, 10_000, 60_000]
    assert found.tokens == 60_000
    assert found.seconds < whole - 4 * 0.3  # the clock stood still while marks were looked at
    assert [mark.seconds for mark in looked] == sorted(mark.seconds for mark in looked)

    def error(sae: object) -> float:
        coder = SaeCoder(sae)
        return float((x - coder.decode(coder.encode(x), len(x))).pow(2).sum())

    assert error(found.sae) < 0.5 * error(looked[0].sae)
    assert error(found.sae) < {"topk": 0.2, "standard": 0.5}[kind] * float((x - x.mean(0)).pow(2).sum())
    assert error(looked[-1].sae) == error(found.sae)
    again = train(x, settings, 48, 6, {})
    assert all(torch.equal(a, b) for a, b in zip(found.sae.parameters(), again.sae.parameters(), strict=True))


def test_a_standard_sae_is_steered_to_the_l0_wanted(activations: torch.Tensor) -> None:
    settings = SaeSettings("standard", tokens=150_000, batch=100, lr=1e-3)
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


def only(library: Library, kind: str) -> SaeRecord:
    return next(r for r in sae_records(library) if isinstance(r, SaeRecord) and r.kind == kind and r.release is None)


def test_a_trained_sae_is_kept_with_what_made_it(with_saes: Library) -> None:
    for kind in ("topk", "standard"):
        record = only(with_saes, kind)
        dictionary = with_saes.record(record.dictionary)
        assert record.width == dictionary.n_atoms
        assert record.k == dictionary.settings.l0
        assert record.is_of(dictionary)
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


def test_verify_tells_a_changed_sae(with_saes: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_saes.root, root)
    library = Library(root)
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


def test_folders_that_are_no_saes_are_told_and_passed_over(with_saes: Library, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(with_saes.root, root)
    library = Library(root)
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
    for wrong in ({"architecture": "nothing"}, {"d_sae": 7}, {"k": "many"}):
        write_json(folder / "cfg.json", config | wrong)
        if wrong == {"k": "many"}:  # seen when it encodes at the latest
            with pytest.raises((DamagedError, TypeError)):
                SaeCoder(saelens.load_sae(folder)).encode(torch.randn(3, 192))
            continue
        with pytest.raises(DamagedError, match="cannot be read as an SAE"):
            saelens.load_sae(folder)


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
    for name in ("blocks.3.hook_resid_post", "blocks.1.hook_resid_post"):
        (repository / name).mkdir(parents=True)
        for file in record.files:
            shutil.copy(sae_folder(with_saes, record.id) / file, repository / name / file)
    config = read_json(repository / "blocks.1.hook_resid_post" / "cfg.json")
    config["metadata"]["hook_name"] = "blocks.1.hook_resid_post"
    write_json(repository / "blocks.1.hook_resid_post" / "cfg.json", config)
    with serve(folder) as served:
        yield served


def run_sae(library: Library, environment: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    dictionary = only(library, "topk").dictionary
    return subprocess.run(
        [sys.executable, "-m", "itda_core.cli", "sae", dictionary, *more, "--library", str(library.root), "--json"],
        cwd=REPOSITORY,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def test_a_pretrained_sae_comes_from_the_hub(with_saes: Library, hub: Hub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path)
    named = ("--release", "someone/small-saes", "--sae-id")
    done = run_sae(with_saes, environment, *named, "blocks.3.hook_resid_post")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
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

    for arguments, line in (
        ((*named, "blocks.1.hook_resid_post"), "is of blocks.1.hook_resid_post, docs-a-l3-resid"),
        ((*named, "blocks.9.hook_resid_post"), "has no SAE 'blocks.9.hook_resid_post'"),
        (("--release", "someone/nothing", "--sae-id", "x"), "someone/nothing"),
        (("--release", "nothing", "--sae-id", "x"), "Release nothing not found"),
        ((*named, "x", "--k", "3"), "leave --k out"),
        (("--release", "nothing"), "both --release and --sae-id"),
    ):
        refused = run_sae(with_saes, environment, *arguments)
        assert refused.returncode == 2, refused.stderr
        assert line in refused.stderr.strip().splitlines()[-1]
        assert "Traceback" not in refused.stderr


def test_a_hub_that_cannot_be_reached_is_told(with_saes: Library, tmp_path: Path) -> None:
    environment = hub_environment("http://127.0.0.1:9", tmp_path)
    refused = run_sae(with_saes, environment, "--release", "someone/small-saes", "--sae-id", "other")
    assert refused.returncode == 2, refused.stderr
    assert "the Hub cannot be reached" in refused.stderr.strip().splitlines()[-1]


def test_without_saelens_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saelens.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'itda-explorer\[sae\]'"):
        saelens.require_saelens()


def test_records_of_no_library_are_none(tmp_path: Path) -> None:
    assert sae_records(Library(tmp_path / "nothing")) == []
    assert list(tmp_path.iterdir()) == []
