"""GGUF files: a model of the demo written as one, and SmolLM2 where it is installed. A plugin, with their fixtures."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import MODEL_ARCH, GGUFWriter, TokenType, get_tensor_name_map
from safetensors.numpy import load_file

from itda_core.models.gguf_cache import CACHE_VARIABLE
from itda_core.models.smollm2 import INSTALL_SMOLLM2, smollm2_file
from tests.support.places import MODEL_A

NAME = "tiny-llama.F16"


def write_gguf(
    path: Path, architecture: str = "llama", without: str = "", is_split: bool = True, **changed: Any
) -> Path:
    """Write model A, which is a Llama, as llama.cpp converts one.

    `without` names a tensor to leave out; `is_split` tells whether the tokenizer states its merges; `changed` replaces
    numbers of the metadata, by their names after the architecture's, and `tokenizer` the kind of tokenizer.
    """
    config = json.loads((MODEL_A / "config.json").read_text())
    n_layers, n_heads = config["num_hidden_layers"], config["num_attention_heads"]
    writer = GGUFWriter(path, architecture)
    writer.add_tokenizer_model(changed.pop("tokenizer", "gpt2"))
    sizes = {
        "block_count": n_layers,
        "embedding_length": config["hidden_size"],
        "context_length": config["max_position_embeddings"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": n_heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "vocab_size": config["vocab_size"],
    }
    for key, number in (sizes | changed).items():
        writer.add_uint32(f"{architecture}.{key}", number)
    writer.add_float32(f"{architecture}.rope.freq_base", config["rope_parameters"]["rope_theta"])
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    _add_tokenizer(writer, is_split)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, n_layers)
    for key, weights in load_file(MODEL_A / "model.safetensors").items():
        name = names.get_name(key, (".weight",))
        assert name is not None
        if "attn_q" in name or "attn_k" in name:  # llama.cpp pairs the dimensions that it rotates otherwise
            weights = weights.reshape(n_heads, 2, -1, weights.shape[1]).swapaxes(1, 2).reshape(weights.shape)
        if name != without:
            writer.add_tensor(name, weights if weights.ndim > 1 else weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, is_split: bool) -> None:
    tokenizer = json.loads((MODEL_A / "tokenizer.json").read_text())
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens])
    if is_split:
        writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)


@pytest.fixture(scope="session", autouse=True)
def gguf_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of converted models of this run, shared by its processes; the user's own is not touched."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(cache))
        yield cache


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model A as a GGUF file."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / f"{NAME}.gguf")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The file of SmolLM2; a test is skipped where it is not installed."""
    file = smollm2_file()
    if file is None:
        pytest.skip(f"SmolLM2 is not installed: {INSTALL_SMOLLM2}")
    return file
