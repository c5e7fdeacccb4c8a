"""What a model cannot read or compute is told in one line: its vocabulary, its positions, its numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoTokenizer

from itda_core import UserError
from itda_core.capture.local import Capture, collate
from itda_core.cli.command_line import main
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document, Site
from itda_core.corpus.windows import Window, make_windows
from itda_core.evaluation.patching import PredictingSite
from itda_core.models.metadata import model_shape
from itda_core.models.model import Model, load_model
from itda_core.models.passes import one_pass
from tests.support.architectures import ARCHITECTURES, Architecture, captured
from tests.support.places import MODEL_A

TEXT = "def f(x): return [x + 1 for x in range(x) if x % 2]  # every other number, and one more\n" * 4


def windows(model: Model, context: int = 64, text: str = TEXT) -> list[Window]:
    return list(make_windows([Document("", text)], model.tokenizer, WindowSettings(context=context), 10_000))


def of(title: str, **more: object) -> Architecture:
    (found,) = [each for each in ARCHITECTURES if each.title == title]
    return replace(found, settings={**found.settings, **more})


@pytest.fixture
def build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `itda build` on a folder, which is refused: the one line."""

    def run(folder: Path, *options: str) -> str:
        corpus = tmp_path / "corpus.jsonl"
        corpus.write_text("".join(json.dumps({"text": TEXT}) + "\n" for _ in range(20)))
        library = tmp_path / "library"
        arguments = ["build", str(folder), "--corpus", str(corpus), "--library", str(library), "--layers", "1"]
        assert main([*arguments, "--device", "cpu", *options]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("itda: ")]
        assert not list((library / "dictionaries").glob("[!.]*"))
        return line

    return run


def test_a_tokenizer_of_more_tokens_than_the_model_has_is_refused(tmp_path: Path) -> None:
    folder = of("gpt2", vocab_size=300).save(tmp_path)
    with pytest.raises(UserError, match=r"has embeddings of 300 tokens and a tokenizer of 4096: bring the model's own"):
        load_model(str(folder), device="cpu")


def test_a_token_added_without_an_embedding_is_refused_where_a_text_has_it(tmp_path: Path) -> None:
    folder = of("gpt2").save(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_A)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"], "pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    model = load_model(str(folder), device="cpu")
    assert model.pad_id < 4096  # it is masked, so another serves
    assert len(captured(model, [0])[0])
    read = windows(model, text="see <image> here")
    with pytest.raises(UserError, match=r"a text has token 409\d, '<image>': take that out"):
        list(Capture(model, [Site(0)], lambda: read))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("roberta", 62),  # positions begin at 2, and no tokenizer says how many are left
        ("xlm-roberta", 62),
        ("mpt", 64),
        ("opt", 64),
        ("xlnet", None),  # -1 in its configuration
        ("bloom", None),
        ("gpt2", 64),
        ("gemma3", 64),
        ("layoutlmv3", 62),
    ],
)
def test_how_many_tokens_a_model_reads(name: str, most: int | None, tmp_path: Path) -> None:
    assert model_shape(str(of(name).save(tmp_path))).max_tokens == most


@pytest.mark.parametrize("name", ["roberta", "mpt", "gpt2"])
def test_a_context_that_a_model_does_not_read_is_refused_with_the_number(name: str, tmp_path: Path, build) -> None:
    folder = of(name).save(tmp_path / name)
    most = 62 if name == "roberta" else 64
    line = build(folder, "--context", str(most + 1))
    assert line.endswith(f"{name} reads {most} tokens at most: use --context {most} or less")
    model = load_model(str(folder), device="cpu")
    assert len(next(iter(Capture(model, [Site(1)], lambda: windows(model, most)))).sources) == most - 1


@pytest.fixture
def overflowing(tmp_path: Path) -> Path:
    """A model whose second MLP gives more than numbers in half precision hold, as some trained ones do."""
    folder = of("gpt2").save(tmp_path / "large")
    network: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        network.transformer.h[1].mlp.c_proj.bias.fill_(7e4)
    network.save_pretrained(folder)
    return folder


def test_values_that_are_not_finite_are_told_with_layer_and_remedy(overflowing: Path, build) -> None:
    told = "layer 1 resid of large has values that are not finite in float16, whose numbers end at 65,504: use --dtype"
    assert told in build(overflowing, "--context", "32", "--dtype", "float16")
    model = load_model(str(overflowing), device="cpu", dtype="float16")
    assert len(next(iter(Capture(model, [Site(0)], lambda: windows(model)))).sources)
    for hook in ("resid", "mlp"):
        with pytest.raises(UserError, match=f"layer 1 {hook} of large has values that are not finite"):
            list(Capture(model, [Site(1, hook)], lambda: windows(model)))
        with pytest.raises(UserError, match=f"layer 1 {hook} of large has values that are not finite"):
            PredictingSite(model, Site(1, hook)).predictions(windows(model))
    for dtype in ("float32", "bfloat16"):
        (x,) = captured(load_model(str(overflowing), device="cpu", dtype=dtype), [1])
        assert x.isfinite().all()


def test_the_parts_of_a_model_that_overflows_are_those_of_its_other_layers(tmp_path: Path) -> None:
    folder = of("phi").save(tmp_path / "large")  # a family whose parts are found by a pass
    network: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for layer, told in ((1, "layer 1 mlp of large has"), (0, "every layer of PhiForCausalLM has")):
        with torch.no_grad():
            network.model.layers[layer].mlp.fc2.bias.fill_(7e4)
        network.save_pretrained(folder)
        model = load_model(str(folder), device="cpu", dtype="float16")
        read = windows(model)
        if layer == 1:
            assert len(next(iter(Capture(model, [Site(0, "mlp"), Site(1, "attn")], lambda read=read: read))).sources)
        with pytest.raises(UserError, match=f"{told} values that are not finite in float16, .*: use --dtype bfloat16"):
            list(Capture(model, [Site(1, "mlp")], lambda read=read: read))


def test_a_family_that_does_not_compute_in_half_precision_is_told_what_helps(tmp_path: Path, build) -> None:
    line = build(of("fnet").save(tmp_path / "fnet"), "--context", "32", "--dtype", "float16")
    assert "FNetModel does not run on a short text (" in line
    assert line.endswith("): use --dtype float32, or name another model")


def test_a_pass_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    model = load_model(str(of("gpt2").save(tmp_path / "short")), device="cpu")
    model.max_tokens = None  # as of a family whose configuration calls it something else
    read = windows(model, 70)
    fed = collate(model, read)
    for run in (lambda: list(Capture(model, [Site(0)], lambda: read)), lambda: PredictingSite(model, Site(0)).run(fed)):
        with pytest.raises(
            UserError, match=r"short fails on a text \(.*\): lower --context, or name another"
        ) as refused:
            run()
        assert "\n" not in str(refused.value)
    model.max_tokens = 64
    assert len(captured(model, [0])[0])  # and it runs on
    with pytest.raises(UserError, match="short needs more memory than cpu has left: lower --batch"), one_pass(model):
        torch.empty(2**55)


def test_the_parts_of_an_encoder_of_t5_add_up(tmp_path: Path) -> None:
    model = load_model(str(of("t5 (encoder alone)").save(tmp_path)), device="cpu")
    read = windows(model)
    (batch,) = Capture(model, [Site(0), Site(1, "attn"), Site(1, "mlp"), Site(1)], lambda: read)
    x = batch.activations
    total = x[Site(0)] + x[Site(1, "attn")] + x[Site(1, "mlp")]
    assert torch.allclose(total, x[Site(1)], atol=1e-5)


def test_padding_that_shows_changes_no_dictionary(tmp_path: Path) -> None:
    model = load_model(str(of("fnet").save(tmp_path)), device="cpu")
    texts = [Document("", TEXT[: 20 * length]) for length in (1, 4, 4, 4, 2, 2)]
    read = list(make_windows(texts, model.tokenizer, WindowSettings(context=64), 10_000))
    runs = [list(Capture(model, [Site(1)], lambda: read, size)) for size in (2, 3, 16)]
    assert [len(run) for run in runs] == [4, 3, 3]
    for run in runs:
        assert torch.equal(torch.cat([batch.sources for batch in run]), torch.cat([b.sources for b in runs[0]]))
        x, y = (torch.cat([batch.activations[Site(1)] for batch in each]) for each in (run, runs[0]))
        assert torch.allclose(x, y, atol=1e-5)
    assert [len(batch.sources) for batch in Capture(model, [Site(1)], lambda: read, 2).batches(2)] == [
        len(batch.sources) for batch in runs[0][2:]
    ]
