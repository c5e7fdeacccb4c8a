"""One small configuration of each model family."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer

from tests.support.places import MODEL_A

LAYERS = 3
GPT2_LIKE = {"n_positions": 64, "n_embd": 32, "n_layer": LAYERS, "n_head": 2}
PLAIN = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 64}
GROUPED = {**PLAIN, "num_key_value_heads": 2, "max_position_embeddings": 64}
HEADED = {**GROUPED, "head_dim": 8}
NEO = {
    "hidden_size": 32,
    "num_layers": LAYERS,
    "num_heads": 2,
    "window_size": 4,
    "attention_types": [[["global", "local", "global"], 1]],
    "max_position_embeddings": 64,
}
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}


@dataclass(frozen=True)
class Family:
    """An architecture of transformers, and where its places are, told apart from the code under test."""

    name: str
    """Its configuration class, and its model class after it."""
    settings: dict[str, Any]
    """The configuration's, besides the vocabulary."""
    blocks: str
    attn: str
    mlp: str

    def save(self, folder: Path) -> Path:
        """A random model with the demo's tokenizer."""
        torch.manual_seed(0)
        config_class, model_class = self.name.split()
        ids = {"vocab_size": 4096, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
        config = getattr(transformers, config_class)(**ids, **self.settings)
        network = getattr(transformers, model_class)(config)
        with torch.no_grad():  # as initialised, biases are 0 and norms are 1: a missing or doubled one would not show
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        network.save_pretrained(folder)
        AutoTokenizer.from_pretrained(MODEL_A).save_pretrained(folder)
        return folder


GEMMA_PARTS = ("post_attention_layernorm", "post_feedforward_layernorm")
LISTED = [
    Family("GPT2Config GPT2LMHeadModel", GPT2_LIKE, "transformer.h", "attn", "mlp"),
    Family("GPTNeoConfig GPTNeoForCausalLM", NEO, "transformer.h", "attn", "mlp"),
    Family("GPTNeoXConfig GPTNeoXForCausalLM", PLAIN, "gpt_neox.layers", "attention", "mlp"),
    Family(
        "GPTNeoXConfig GPTNeoXForCausalLM",
        {**PLAIN, "use_parallel_residual": False},
        "gpt_neox.layers",
        "attention",
        "mlp",
    ),
    Family("LlamaConfig LlamaForCausalLM", GROUPED, "model.layers", "self_attn", "mlp"),
    Family("MistralConfig MistralForCausalLM", {**GROUPED, "sliding_window": 8}, "model.layers", "self_attn", "mlp"),
    Family("Qwen2Config Qwen2ForCausalLM", GROUPED, "model.layers", "self_attn", "mlp"),
    Family("Qwen3Config Qwen3ForCausalLM", HEADED, "model.layers", "self_attn", "mlp"),
    Family("GemmaConfig GemmaForCausalLM", HEADED, "model.layers", "self_attn", "mlp"),
    Family("Gemma2Config Gemma2ForCausalLM", {**HEADED, **SLIDING}, "model.layers", *GEMMA_PARTS),
    Family("Gemma3TextConfig Gemma3ForCausalLM", {**HEADED, **SLIDING}, "model.layers", *GEMMA_PARTS),
]
OPT = {
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
}
BLOOM = {"hidden_size": 32, "n_layer": LAYERS, "n_head": 4}
ESM = {**PLAIN, "max_position_embeddings": 64, "mask_token_id": 1}
UNLISTED = [
    Family("OPTConfig OPTForCausalLM", OPT, "model.decoder.layers", "self_attn", "fc2"),
    Family("PhiConfig PhiForCausalLM", GROUPED, "model.layers", "self_attn", "mlp"),
    Family("GPTJConfig GPTJForCausalLM", {**GPT2_LIKE, "rotary_dim": 8}, "transformer.h", "attn", "mlp"),
    Family(
        "BloomConfig BloomForCausalLM", BLOOM, "transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"
    ),  # its attn and mlp modules themselves add the stream to what they return
    Family("Olmo2Config Olmo2ForCausalLM", GROUPED, "model.layers", *GEMMA_PARTS),
    Family("MixtralConfig MixtralForCausalLM", {**GROUPED, "num_local_experts": 2}, "model.layers", "self_attn", "mlp"),
    Family("EsmConfig EsmModel", ESM, "encoder.layer", "attention.output.dense", "output.dense"),
]
BERT = Family("BertConfig BertForMaskedLM", {**PLAIN, "max_position_embeddings": 64}, "encoder.layer", "", "")
POST_NORM = Family("OPTConfig OPTForCausalLM", {**OPT, "do_layer_norm_before": False}, "model.decoder.layers", "", "")
SCALED = Family(
    "GraniteConfig GraniteForCausalLM", {**GROUPED, "residual_multiplier": 0.5}, "model.layers", "self_attn", "mlp"
)


def named(family: Family) -> str:
    return family.name.split()[1] + ("-sequential" if "use_parallel_residual" in family.settings else "")
