"""105 architectures of transformers as tiny random models, and what `load_model` and capture make of each.

`python -m tests.support.architectures [NAME…]` prints a table: each architecture, and whether the captured activations
of every layer equal transformers' own `hidden_states` to 1e-5, or the line with which the model is refused.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoTokenizer

from itda_core.capture.local import Capture
from itda_core.common.errors import UserError
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document, Site
from itda_core.corpus.windows import Window, make_windows
from itda_core.models.metadata import model_shape
from itda_core.models.model import Model, load_model
from tests.support.places import MODEL_A

LAYERS, WIDTH = 3, 32
TOLERANCE = 1e-5
EQUAL, ALIKE = "equal", "equal, in batches of one length"

_IDS = {"vocab_size": 4096, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
_PLAIN = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
_GROUPED = {**_PLAIN, "num_key_value_heads": 2, "head_dim": 8}
_GPT2 = {"n_positions": 64, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4}
_EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT = {  # DeepSeek's attention
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "head_dim": 8,
}
_VISION = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 64}
# Lines that refuse a model.
_NO_VECTOR = "not one vector for each of 2 × 13 tokens: name another model"
_NO_STATES = "has no modules whose outputs are its hidden states: name another model"
_NO_TEXT = "takes no token ids: name a model of text"
_TWO_PARTS = "is an encoder with a decoder, which are not read here: name a model that is one"
_TEXT = {**_GROUPED, **_IDS}
_IMAGE_IDS = {"image_token_id": 4090, "image_token_index": 4090, "video_token_id": 4091, "audio_token_id": 4092}


@dataclass(frozen=True)
class Architecture:
    """A family of transformers, tiny, and what is made of it."""

    name: str
    """Its `model_type`."""
    settings: dict[str, Any]
    """Its configuration, beside the ids of special tokens."""
    outcome: str = EQUAL
    """`EQUAL`, or a part of the line that refuses it."""
    model_class: str | None = None
    """The model's class where it is not the one that predicts tokens, or the plain one."""
    first_state: int = 1
    """Which of `hidden_states` is the first block's output; the embeddings come before it, save in some families."""
    variant: str = ""
    """What is special about it, where a family is there twice."""
    ids: dict[str, Any] = field(default_factory=lambda: dict(_IDS))

    @property
    def title(self) -> str:
        """Its name, with what is special about it."""
        return f"{self.name} ({self.variant})" if self.variant else self.name

    def save(self, folder: Path) -> Path:
        """A random model with the tokenizer of the tests."""
        torch.manual_seed(0)
        config = CONFIG_MAPPING[self.name](**{**self.ids, **self.settings})
        network = self._class(config)(config)
        with torch.no_grad():  # as initialised, biases are 0 and norms are 1: a missing or doubled one would not show
            for parameter in network.parameters():
                if parameter.is_floating_point():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        network.save_pretrained(folder)
        AutoTokenizer.from_pretrained(MODEL_A).save_pretrained(folder)
        return folder

    def _class(self, config: Any) -> Any:
        if self.model_class is not None:
            return getattr(transformers, self.model_class)
        mapping = MODEL_FOR_CAUSAL_LM_MAPPING if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else MODEL_MAPPING
        return mapping[type(config)]


_ROBERTA = {**_PLAIN, "pad_token_id": 1}  # it counts positions from pad_token_id + 1 on
_BERT = {**_PLAIN, "embedding_size": WIDTH}
_LINEAR = {
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_T5 = {"d_model": WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": LAYERS, "num_heads": 4}
_BART = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 64,
}
_MAMBA = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "state_size": 8}
_XLM = {"emb_dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "max_position_embeddings": 64}
_DEEP_VISION = {**_VISION, "depth": LAYERS, "num_heads": 4, "image_size": 32, "patch_size": 16}
_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}}
_AUDIO = {
    "d_model": WIDTH,
    "num_hidden_layers": LAYERS,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 16,
}

ARCHITECTURES = [
    # Decoders
    Architecture("gpt2", _GPT2),
    Architecture(
        "gpt_neo",
        {
            "hidden_size": WIDTH,
            "num_layers": LAYERS,
            "num_heads": 4,
            "window_size": 4,
            "attention_types": [[["global", "local", "global"], 1]],
            "max_position_embeddings": 64,
        },
    ),
    Architecture("gptj", {**_GPT2, "rotary_dim": 8}),
    Architecture("gpt_neox", _PLAIN),
    Architecture("gpt_bigcode", _GPT2),
    Architecture("codegen", {**_GPT2, "n_ctx": 64, "rotary_dim": 8}),
    Architecture("ctrl", {**_GPT2, "dff": 64}),
    Architecture("openai-gpt", _GPT2),
    Architecture("opt", {**_PLAIN, "ffn_dim": 64, "word_embed_proj_dim": WIDTH}),
    Architecture("bloom", {"hidden_size": WIDTH, "n_layer": LAYERS, "n_head": 4}),
    Architecture("mpt", {"d_model": WIDTH, "n_heads": 4, "n_layers": LAYERS, "max_seq_len": 64}),
    Architecture("falcon", {**_PLAIN, "num_kv_heads": 4}),
    Architecture("falcon", {**_PLAIN, "num_kv_heads": 4, "alibi": True, "parallel_attn": False}, variant="alibi"),
    Architecture("llama", _GROUPED),
    Architecture("mistral", {**_GROUPED, "sliding_window": 8}),
    Architecture("qwen2", _GROUPED),
    Architecture("qwen3", _GROUPED),
    Architecture("gemma", _GROUPED),
    Architecture("gemma2", {**_GROUPED, "sliding_window": 8}),
    Architecture("gemma3_text", {**_GROUPED, "sliding_window": 8}),
    Architecture("phi", _GROUPED),
    Architecture("phi3", _GROUPED),
    Architecture("stablelm", _GROUPED),
    Architecture("starcoder2", _GROUPED),
    Architecture("persimmon", _PLAIN),
    Architecture("nemotron", _GROUPED),
    Architecture("olmo", _GROUPED),
    Architecture("olmo2", _GROUPED),
    Architecture("cohere", _GROUPED),
    Architecture("cohere2", {**_GROUPED, "sliding_window": 8}),
    Architecture("granite", {**_GROUPED, "residual_multiplier": 0.5}),
    Architecture("glm", _GROUPED),
    Architecture("glm4", _GROUPED),
    Architecture("smollm3", _GROUPED),
    Architecture("helium", _GROUPED),
    Architecture("exaone4", {**_GROUPED, "sliding_window": 8}),
    Architecture(
        "gemma3n_text",
        {
            **_GROUPED,
            "intermediate_size": [64] * LAYERS,
            "num_kv_shared_layers": 0,
            "activation_sparsity_pattern": [0.0] * LAYERS,
            "laurel_rank": 8,
            "vocab_size_per_layer_input": 4096,
            "hidden_size_per_layer_input": 8,
        },
        _NO_VECTOR,
    ),
    Architecture("xglm", {"d_model": WIDTH, "ffn_dim": 64, "num_layers": LAYERS, "attention_heads": 4}),
    Architecture("biogpt", _PLAIN),
    Architecture("bart", _BART, model_class="BartForCausalLM", variant="decoder alone"),
    # Experts
    Architecture("mixtral", {**_GROUPED, **_EXPERTS}),
    Architecture("qwen2_moe", {**_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 32}),
    Architecture("qwen3_moe", {**_GROUPED, **_EXPERTS}),
    Architecture("olmoe", {**_GROUPED, **_EXPERTS}),
    Architecture("granitemoe", {**_GROUPED, **_EXPERTS}),
    Architecture("gpt_oss", {**_GROUPED, **_EXPERTS, "sliding_window": 8}),
    Architecture("deepseek_v2", {**_PLAIN, **_LATENT}),
    Architecture("deepseek_v3", {**_PLAIN, **_LATENT}),
    Architecture(
        "dbrx",
        {
            "d_model": WIDTH,
            "n_heads": 4,
            "n_layers": LAYERS,
            "max_seq_len": 64,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
            "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": WIDTH},
        },
    ),
    # State spaces and recurrent ones
    Architecture("mamba", {**_MAMBA, "intermediate_size": 64, "time_step_rank": 4}, first_state=0),
    Architecture("falcon_mamba", {**_MAMBA, "intermediate_size": 64, "time_step_rank": 4}, first_state=0),
    Architecture("mamba2", {**_MAMBA, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8}, first_state=0),
    Architecture(
        "jamba",
        {
            **_GROUPED,
            **_EXPERTS,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    Architecture(
        "recurrent_gemma",
        {
            **_PLAIN,
            "lru_width": WIDTH,
            "num_key_value_heads": 1,
            "attention_window_size": 16,
            "head_dim": 8,
            "block_types": ["recurrent", "recurrent", "attention"],
        },
    ),
    Architecture("rwkv", {**_PLAIN, "attention_hidden_size": WIDTH, "context_length": 64}, first_state=0),
    Architecture("lfm2", {**_GROUPED, "layer_types": ["conv", "full_attention", "conv"]}),
    Architecture(
        "qwen3_next",
        {
            **_GROUPED,
            **_EXPERTS,
            **_LINEAR,
            "shared_expert_intermediate_size": 32,
        },
    ),
    Architecture("qwen3_5_text", {**_GROUPED, **_LINEAR}),
    # Encoders
    Architecture("bert", _PLAIN, model_class="BertModel"),
    Architecture("roberta", _ROBERTA, model_class="RobertaModel"),
    Architecture("xlm-roberta", _ROBERTA, model_class="XLMRobertaModel"),
    Architecture("camembert", _ROBERTA, model_class="CamembertModel"),
    Architecture("mpnet", _ROBERTA),
    Architecture("layoutlmv3", {**_ROBERTA, "coordinate_size": 4, "shape_size": 8, "input_size": 32, "patch_size": 16}),
    Architecture("esm", {**_PLAIN, "mask_token_id": 1}),
    Architecture("electra", _BERT, model_class="ElectraModel"),
    Architecture("ernie", _PLAIN, model_class="ErnieModel"),
    Architecture("nomic_bert", _PLAIN),
    Architecture("modernbert", {**_PLAIN, "local_attention": 8}),
    Architecture("deberta", {**_PLAIN, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    Architecture("deberta-v2", {**_PLAIN, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    Architecture(
        "deberta-v2", {**_PLAIN, "conv_kernel_size": 3, "conv_act": "gelu"}, _NO_STATES, variant="convolution"
    ),
    Architecture(
        "albert",
        {**_BERT, "num_hidden_groups": 1},
        "AlbertModel has no list of 3 blocks: name a model of another family",
    ),
    Architecture(
        "distilbert", {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64}
    ),
    Architecture("mobilebert", {**_BERT, "intra_bottleneck_size": 16, "true_hidden_size": 16}, ALIKE),
    Architecture("squeezebert", _BERT, "runs 0 of its 3 layers on text: name another model"),
    Architecture("convbert", {**_BERT, "conv_kernel_size": 3}, ALIKE),
    Architecture(
        "nystromformer",
        {**_PLAIN, "num_landmarks": 4, "segment_means_seq_len": 64, "conv_kernel_size": 3},
        "does not run on a short text",
    ),
    Architecture("longformer", {**_ROBERTA, "attention_window": 8}, _NO_VECTOR),
    Architecture("fnet", {**_PLAIN, "tpu_short_seq_length": 64}, ALIKE),
    Architecture("xlnet", {"d_model": WIDTH, "n_layer": LAYERS, "n_head": 4, "d_inner": 64}, _NO_VECTOR),
    Architecture("xlm", _XLM, model_class="XLMWithLMHeadModel"),
    Architecture("flaubert", _XLM, model_class="FlaubertModel"),
    Architecture(
        "funnel",
        {
            "d_model": WIDTH,
            "block_sizes": [1, 1, 1],
            "num_decoder_layers": 3,
            "n_head": 4,
            "d_head": 8,
            "d_inner": 64,
            "max_position_embeddings": 64,
        },
        _NO_STATES,
        model_class="FunnelModel",
    ),
    Architecture(
        "reformer",
        {
            "hidden_size": WIDTH,
            "attn_layers": ["local"] * LAYERS,
            "feed_forward_size": 64,
            "attention_head_size": 8,
            "num_attention_heads": 4,
            "axial_pos_shape": [8, 8],
            "axial_pos_embds_dim": [16, 16],
            "local_attn_chunk_length": 8,
            "max_position_embeddings": 64,
        },
        _NO_VECTOR,
        model_class="ReformerModel",
    ),
    Architecture("t5", {**_T5, "is_encoder_decoder": False}, model_class="T5EncoderModel", variant="encoder alone"),
    Architecture("clip_text_model", _PLAIN),
    # An encoder with a decoder
    Architecture("t5", _T5, _TWO_PARTS),
    Architecture("bart", _BART, _TWO_PARTS, model_class="BartModel"),
    Architecture("whisper", {**_BART, "num_mel_bins": 16}, _TWO_PARTS, model_class="WhisperModel"),
    # Several streams a token
    Architecture("deepseek_v4", {**_PLAIN, **_LATENT, "head_dim": 16, "num_key_value_heads": 1}, _NO_VECTOR),
    # Those that read more than text
    Architecture("gemma3", {"text_config": _TEXT, "vision_config": _DEEP_VISION, **_IMAGE_IDS}),
    Architecture(
        "paligemma",
        {"text_config": {**_TEXT, "model_type": "gemma"}, "vision_config": _DEEP_VISION, **_IMAGE_IDS},
        ALIKE,
    ),
    Architecture(
        "llava",
        {
            "text_config": {**_TEXT, "model_type": "llama"},
            "vision_config": {**_DEEP_VISION, "model_type": "clip_vision_model"},
            **_IMAGE_IDS,
        },
    ),
    Architecture(
        "qwen2_vl",
        {"text_config": {**_TEXT, **_MROPE}, "vision_config": {**_DEEP_VISION, "embed_dim": WIDTH}, **_IMAGE_IDS},
    ),
    Architecture(
        "qwen3_vl",
        {
            "text_config": {**_TEXT, **_MROPE},
            "vision_config": {
                **_DEEP_VISION,
                "out_hidden_size": WIDTH,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0, 1],
            },
            **_IMAGE_IDS,
        },
    ),
    Architecture(
        "qwen2_audio", {"text_config": {**_TEXT, "model_type": "qwen2"}, "audio_config": _AUDIO, **_IMAGE_IDS}
    ),
    Architecture(
        "mllama",
        {
            "text_config": {**_TEXT, "cross_attention_layers": [1]},
            "vision_config": {**_DEEP_VISION, "num_global_layers": 1, "intermediate_layers_indices": [0]},
            **_IMAGE_IDS,
        },
        "runs 2 of its 3 layers on text: name another model",
        model_class="MllamaModel",
    ),
    Architecture(
        "qwen2_5_vl",
        {
            "text_config": {**_TEXT, **_MROPE},
            "vision_config": {**_DEEP_VISION, "out_hidden_size": WIDTH, "fullatt_block_indexes": [1]},
            **_IMAGE_IDS,
        },
    ),
    Architecture("idefics3", {"text_config": {**_TEXT, "model_type": "llama"}, "vision_config": _DEEP_VISION}),
    Architecture(
        "voxtral",
        {
            "text_config": {**_TEXT, "model_type": "llama"},
            "audio_config": {**_AUDIO, "model_type": "voxtral_encoder"},
            **_IMAGE_IDS,
        },
    ),
    Architecture("vilt", {**_PLAIN, "image_size": 32, "patch_size": 16}, "does not run on a short text"),
    Architecture("clip", {"text_config": _TEXT, "vision_config": _DEEP_VISION}, _NO_TEXT),
    Architecture("siglip_vision_model", _DEEP_VISION, _NO_TEXT),
    Architecture("vit", _DEEP_VISION, _NO_TEXT),
]


def texts() -> list[Document]:
    """Texts of unequal lengths, so that all but the longest are padded in a batch."""
    words = "def f(x): return [x + 1 for x in range(x) if x % 2]  # every other number, and one more\n" * 4
    return [Document("", words[:length]) for length in (9, 90, 30, 61, 30, 300)]


def windows(model: Model) -> list[Window]:
    """The texts as a model reads them, the longest of as many tokens as it reads at most."""
    return list(make_windows(texts(), model.tokenizer, WindowSettings(context=model.max_tokens or 64), 10_000))


def captured(model: Model, layers: Sequence[int]) -> list[torch.Tensor]:
    """Per layer [n, width] of the captured tokens."""
    sites = [Site(layer) for layer in layers]
    batches = [batch.activations for batch in Capture(model, sites, lambda: windows(model), 3)]
    return [torch.cat([batch[site] for batch in batches]) for site in sites]


def reference(network: Any, windows: list[Window], first: int) -> list[torch.Tensor]:
    """Per layer [n, width]: transformers' own `hidden_states` of each window alone, at the captured tokens.

    The last of them is after a final norm in most families: then it is what went into that norm.
    """
    into: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watch(_module: Any, inputs: tuple, output: Any) -> None:
        into.append((inputs[0], output))

    for name, module in network.named_modules():
        is_in_block = any(part.isdigit() for part in name.split("."))
        if "norm" in type(module).__name__.lower() and not is_in_block:
            module.register_forward_hook(watch)
    rows = []
    for window in windows:
        ids = torch.tensor([[*window.prefix, *window.tokens, *window.suffix]])
        into.clear()
        with torch.no_grad():
            states = network(input_ids=ids, output_hidden_states=True).hidden_states
        last = next((x for x, output in into if torch.equal(output.flatten(), states[-1].flatten())), states[-1])
        begin = len(window.prefix)
        kept = slice(begin + window.captured.start, begin + window.captured.stop)
        rows.append(
            [state.reshape(ids.shape[1], -1)[kept] for state in [*states[first : first + len(states) - 2], last]]
        )
    return [torch.cat(layer) for layer in zip(*rows, strict=True)]


def outcome(architecture: Architecture, folder: Path) -> str:
    """`EQUAL`, `ALIKE`, the line that refuses the model, or by how much the activations are off."""
    folder = architecture.save(folder)
    told = model_shape(str(folder)).max_tokens
    try:
        model = load_model(str(folder), device="cpu")
        got = captured(model, range(model.n_layers))
        first = captured(model, [0])  # which stops after the first block: no later one can have changed it
    except UserError as refused:
        return str(refused)
    if told != model.max_tokens:
        return f"reads {model.max_tokens} tokens, and {told} by its files"
    expected = reference(model.nnsight._module, windows(model), architecture.first_state)
    pairs = [*zip(got, expected, strict=True), (first[0], got[0])]
    shapes = [(list(x.shape), list(y.shape)) for x, y in pairs if x.shape != y.shape]
    if shapes:
        return f"of another shape: {shapes[0]}"
    off = [float((x - y).abs().max()) for x, y in pairs]
    if max(off) > TOLERANCE:
        return f"off by {', '.join(f'{each:.1e}' for each in off)}"
    return ALIKE if model.sees_padding else EQUAL


def main(names: list[str]) -> None:
    """Print the table."""
    print("| architecture | outcome |\n|---|---|")
    for architecture in ARCHITECTURES:
        if not names or architecture.name in names:
            with tempfile.TemporaryDirectory() as folder:
                print(f"| {architecture.title} | {outcome(architecture, Path(folder))} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
