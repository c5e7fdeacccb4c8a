"""Every family, as a tiny random model: opened by the real loader and held against plain hooks of transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import MODEL_A
from transformers import AutoModel, AutoTokenizer

from itda_core import UserError
from itda_core.capture import Capture
from itda_core.config import CutSettings
from itda_core.families import tensor_of
from itda_core.models import Model, load_model
from itda_core.types import Document, Site
from itda_core.windows import Window, cut

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


@pytest.fixture(scope="module")
def windows(language_reference: list[Document]) -> Callable[[Model], list[Window]]:
    """Windows of unequal lengths, so that all but one are padded."""
    documents = [
        Document("short", "a b c"),
        *language_reference[:4],
        Document("middle", "for x in range(12): print(x)"),
    ]
    return lambda model: list(cut(documents, model.tokenizer, CutSettings(context=40), 10_000))


def captured(model: Model, windows: list[Window], sites: list[Site]) -> dict[Site, torch.Tensor]:
    (batch,) = Capture(model, sites, lambda: windows)
    return batch.activations


def plain(folder: Path, family: Family, windows: list[Window], layers: range, auto: Any) -> dict[str, torch.Tensor]:
    """Outputs of modules by plain hooks, in one pass padded on the right, at the positions that are captured."""
    network = auto.from_pretrained(folder, dtype=torch.float32).eval()
    rows, longest = len(windows), max(len(window.tokens) for window in windows)
    ids, mask = torch.zeros(rows, longest, dtype=torch.int64), torch.zeros(rows, longest, dtype=torch.int64)
    kept = torch.zeros(rows, longest, dtype=torch.bool)
    for row, window in enumerate(windows):
        ids[row, : len(window.tokens)] = torch.tensor(window.tokens)
        mask[row, : len(window.tokens)] = 1
        kept[row, window.captured.start : window.captured.stop] = True
    seen: dict[str, torch.Tensor] = {}
    for layer in layers:
        for name in filter(None, ("resid", family.attn, family.mlp)):
            path = f"{family.blocks}.{layer}" + ("" if name == "resid" else f".{name}")

            def hook(_module: Any, _inputs: Any, output: Any, key: str = f"{layer} {name}") -> None:
                output = output if isinstance(output, torch.Tensor) else output[0]
                seen[key] = output.clone().reshape(rows, longest, -1)[kept]

            network.get_submodule(path).register_forward_hook(hook)
    with torch.no_grad():
        network(input_ids=ids, attention_mask=mask)
    assert not mask.all()
    return seen


@pytest.mark.parametrize("family", LISTED + UNLISTED, ids=named)
def test_attention_mlp_and_input_are_the_output(family: Family, tmp_path: Path, windows) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu")
    cuts = windows(model)
    sites = [Site(layer, hook) for layer in range(LAYERS) for hook in ("resid", "mlp", "attn")]
    got = captured(model, cuts, sites)
    expected = plain(tmp_path, family, cuts, range(LAYERS), getattr(transformers, family.name.split()[1]))
    names = {"resid": "resid", "attn": family.attn, "mlp": family.mlp}
    for site in sites:
        assert torch.allclose(got[site], expected[f"{site.layer} {names[site.hook]}"], atol=1e-5, rtol=1e-5), site
    for layer in range(1, LAYERS):
        attn, mlp = got[Site(layer, "attn")], got[Site(layer, "mlp")]
        total = got[Site(layer - 1)] + attn + mlp
        assert torch.allclose(total, got[Site(layer)], atol=1e-5, rtol=1e-5)
        assert min(attn.norm(dim=1).min(), mlp.norm(dim=1).min()) > 1e-3  # neither is there by being nothing


@pytest.mark.parametrize(
    ("family", "auto", "told"),
    [
        (BERT, AutoModel, "norms the sum after"),
        (POST_NORM, transformers.OPTForCausalLM, "norms the sum after"),
        (SCALED, transformers.GraniteForCausalLM, "add up"),
    ],
    ids=["BERT", "OPT-350m", "Granite"],
)
def test_where_the_parts_do_not_add_up_the_stream_is_still_captured(
    family: Family, auto: Any, told: str, tmp_path: Path, windows
) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu")
    cuts = windows(model)
    got = captured(model, cuts, [Site(layer) for layer in range(LAYERS)])
    expected = plain(tmp_path, family, cuts, range(LAYERS), auto)
    for layer in range(LAYERS):
        assert torch.allclose(got[Site(layer)], expected[f"{layer} resid"], atol=1e-5, rtol=1e-5)
    for hook in ("attn", "mlp"):
        with pytest.raises(UserError, match=told) as refused:
            model.module(Site(1, hook))
        assert "use --hook resid" in str(refused.value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("family", "adds_up"), [(UNLISTED[1], True), (SCALED, False)], ids=["Phi", "Granite"])
def test_the_probe_allows_for_rounding_and_for_no_more(family: Family, adds_up: bool, dtype: str, tmp_path) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu", dtype=dtype)
    if adds_up:
        model.module(Site(0, "mlp"))
    else:
        with pytest.raises(UserError, match="add up"):
            model.module(Site(0, "mlp"))


def test_a_module_that_gives_no_vectors_for_tokens_is_refused() -> None:
    wide = torch.zeros(6, 5)
    assert tensor_of((wide, None), 2, 3).shape == (2, 3, 5)
    for output in (torch.zeros(3, 2, 5), torch.zeros(2, 3, 5, dtype=torch.int64), (None, wide), {"x": wide}, ()):
        with pytest.raises(UserError, match="one vector for each token"):
            tensor_of(output, 2, 3)
