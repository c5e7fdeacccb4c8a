"""What `load_model` opens, what it refuses, and what it says then."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
)

from itda_core import UserError
from itda_core.models.model import load_model
from tests.support.places import MODEL_A

TINY = {
    "vocab_size": 4096,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the demo's model, to be damaged."""
    return Path(shutil.copytree(MODEL_A, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints")))


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(UserError) as refused:
        load_model(str(folder), **{"device": "cpu", **options})
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_part_that_the_files_lack_and_the_sites_do_not_need_is_no_part_of_the_hash(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained(tmp_path)  # has no pooler: one is drawn at random
    AutoTokenizer.from_pretrained(MODEL_A).save_pretrained(tmp_path)
    first, second = (load_model(str(tmp_path), device="cpu") for _ in range(2))
    assert not torch.equal(*(model.nnsight._module.pooler.dense.weight for model in (first, second)))
    assert first.weights_sha256() == second.weights_sha256()


def test_a_checkpoint_without_a_head_is_opened_without_one(tmp_path: Path) -> None:
    LlamaModel.from_pretrained(MODEL_A).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(MODEL_A).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    assert type(model.nnsight._module) is LlamaModel
    assert (model.n_layers, model.d_model) == (6, 192)


def test_an_encoder_says_how_many_tokens_it_reads(tmp_path: Path) -> None:
    RobertaModel(RobertaConfig(**TINY, max_position_embeddings=66, pad_token_id=1)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(MODEL_A, model_max_length=64).save_pretrained(tmp_path)
    assert load_model(str(tmp_path), device="cpu").max_tokens == 64  # positions begin at 2


def test_a_model_without_all_of_its_blocks_is_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.4.mlp.down_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "copy lacks 1 of its weights, such as model.layers.4.mlp.down_proj.weight" in refusal(copy)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"intermediate_size": 128}, "its weights are of other shapes than its configuration states"),
        ({"num_hidden_layers": "6"}, "Validation error for field 'num_hidden_layers': TypeError: Field "),
        ({"num_hidden_layers": None}, "Validation error for field 'num_hidden_layers': TypeError: Field "),
        ({"hidden_size": 0}, ""),
        ({"num_attention_heads": 7}, ""),
        ({"rope_parameters": 3}, ""),
        ({"model_type": None}, ""),
        ({"model_type": "brand_new"}, "The checkpoint you are trying to load has model type `brand_new` but"),
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_is_refused(copy: Path, change: dict, told: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    assert f"copy cannot be loaded: {told}" in refusal(copy)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"model": {}}', '{"added_tokens": [], "model": 3}'])
def test_a_tokenizer_that_is_none_is_refused(copy: Path, content: str | None) -> None:
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    if content is not None:
        (copy / "tokenizer.json").write_text(content)
    told = refusal(copy)
    assert "copy cannot be loaded: " in told or "copy has no tokenizer" in told
    assert (content is None) == ("has no tokenizer" in told.replace("loaded: it has", "has"))


def test_an_empty_tokenizer_that_transformers_makes_is_none(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=4096, n_embd=32, n_layer=2, n_head=2)).save_pretrained(tmp_path / "alone")
    assert "alone has no tokenizer: put the model's own tokenizer.json beside its weights" in refusal(
        tmp_path / "alone"
    )


def test_weights_in_pickle_only_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "copy has no model.safetensors" in refusal(copy)


def test_a_folder_has_no_revisions() -> None:
    assert "has no revisions: leave --revision out" in refusal(MODEL_A, revision="main")


def test_an_encoder_with_a_decoder_is_refused(copy: Path) -> None:
    T5Config().save_pretrained(copy)
    assert "is an encoder with a decoder" in refusal(copy)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert "there is no device 'cuda:77' here" in refusal(MODEL_A, device="cuda:77")
    assert "there is no device 'toaster' here" in refusal(MODEL_A, device="toaster")


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is not None, reason="accelerate is installed")
def test_to_spread_a_model_needs_accelerate() -> None:
    assert refusal(MODEL_A, device="auto") == (
        "--device auto needs accelerate: pip install accelerate, or name one device"
    )


@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")
def test_a_model_that_is_spread_has_the_same_weights() -> None:
    spread, whole = (load_model(str(MODEL_A), device=device) for device in ("auto", "cpu"))
    assert spread.weights_sha256() == whole.weights_sha256()
