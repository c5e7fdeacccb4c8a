"""Fields of SAELens' configurations, old and new: each is computed as it says, as SAELens itself does, or refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from itda_core.common.errors import DamagedError
from itda_core.common.files import write_json
from itda_core.evaluation.sae.coder import SaeCoder
from itda_core.evaluation.sae.saelens import load_sae
from tests.support.saelens import needs_saelens

pytestmark = needs_saelens

OLD = {
    "d_in": 6,
    "d_sae": 10,
    "dtype": "float32",
    "device": "cpu",
    "hook_point": "blocks.1.hook_resid_post",
    "hook_point_layer": 1,
    "model_name": "gpt2",
    "finetuning_scaling_factor": False,
    "sae_lens_training_version": None,
}
NEW = {"d_in": 6, "d_sae": 10, "metadata": {"hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.5.0"}}


def write(folder: Path, config: dict, own: dict) -> torch.nn.Module:
    """An SAE's folder with this configuration; returns the SAE as SAELens makes it where all is said in its own way."""
    from sae_lens import SAE

    torch.manual_seed(0)
    sae = SAE.from_dict({"architecture": "standard", "d_in": 6, "d_sae": 10} | own)
    with torch.no_grad():
        for weight in sae.parameters():
            weight.copy_(torch.randn(weight.shape))
    sae.save_model(folder)
    (folder / "cfg.json").write_text(json.dumps(config))
    return sae


TOPK = {"architecture": "topk", "k": 3}
COMPUTED = [
    (OLD, {}),
    (OLD | {"architecture": "standard", "activation_fn_str": "relu", "activation_fn_kwargs": {}}, {}),
    (OLD | {"activation_fn": "relu", "activation_fn_kwargs": None, "hook_point_head_index": None}, {}),
    (OLD | {"architecture": "gated"}, {"architecture": "gated"}),
    (OLD | {"architecture": "jumprelu", "activation_fn_str": "relu"}, {"architecture": "jumprelu"}),
    (OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}, TOPK),
    (OLD | {"activation_fn": "topk", "activation_fn_kwargs": {"k": 3, "signed": False}}, TOPK),
    (OLD | {"architecture": "topk", "activation_fn_kwargs": {"k": 3}}, TOPK),
    (OLD | {"apply_b_dec_to_input": True}, {}),
    (OLD | {"apply_b_dec_to_input": False}, {"apply_b_dec_to_input": False}),
    *((OLD | {"normalize_activations": value}, {}) for value in (False, None, "none")),
    *(
        (form | {"normalize_activations": value}, {"normalize_activations": value})
        for form in (OLD, NEW | {"architecture": "standard"})
        for value in ("layer_norm", "constant_norm_rescale")
    ),
    (OLD | {"is_transcoder": False, "d_out": 6, "hook_head_index": None}, {}),
    *((NEW | {"architecture": each}, {"architecture": each}) for each in ("standard", "gated", "jumprelu")),
    (NEW | TOPK, TOPK),
    *(
        (NEW | TOPK | {"rescale_acts_by_decoder_norm": value}, TOPK | {"rescale_acts_by_decoder_norm": value})
        for value in (False, True)
    ),
    *(
        (NEW | {"architecture": "standard", "apply_b_dec_to_input": value}, {"apply_b_dec_to_input": value})
        for value in (False, True)
    ),
]


@pytest.mark.parametrize(("config", "own"), COMPUTED)
def test_what_is_taken_is_what_the_configuration_says(tmp_path: Path, config: dict, own: dict) -> None:
    sae = write(tmp_path, config, own)
    x = 3 * torch.randn(50, 6) + 1
    coder = SaeCoder(load_sae(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(coder.decode(coder.encode(x), 50), sae(x), rtol=1e-5, atol=1e-5)


STANDARD = NEW | {"architecture": "standard"}
REFUSED = [
    *(
        (form | {name: value}, f"{name} is {value!r}")
        for form in (OLD, STANDARD)
        for name, value in (
            ("activation_fn_str", "tanh-relu"),
            ("activation_fn", "tanh-relu"),
            ("activation_fn", "gelu"),
            ("activation_fn", None),
            ("activation_fn_str", "topk"),
            ("apply_b_dec_to_input", 2),
            ("apply_b_dec_to_input", 1),
            ("apply_b_dec_to_input", "false"),
            ("apply_b_dec_to_input", None),
            ("architecture", "transcoder"),
            ("architecture", "skip_transcoder"),
            ("architecture", "jumprelu_transcoder"),
            ("architecture", "crosscoder"),
            ("architecture", "batchtopk"),
            ("architecture", "matryoshka_batchtopk"),
            ("architecture", "abstopk"),
            ("architecture", "temporal"),
            ("architecture", "matching_pursuit"),
            ("architecture", ["standard"]),
            ("hook_head_index", 0),
            ("hook_point_head_index", 3),
            ("reshape_activations", "hook_z"),
            ("reshape_activations", "heads"),
            ("is_transcoder", True),
            ("hook_name_out", "blocks.1.hook_mlp_out"),
            ("out_hook_point", "blocks.1.hook_mlp_out"),
            ("d_out", 7),
            ("activation_fn_kwargs", ["k"]),
            ("activation_fn_kwargs", {"k": 3, "signed": True}),
        )
    ),
    (OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {}}, "activation_fn_str is 'topk'"),
    (OLD | {"normalize_activations": True}, "expected_average_only_in"),
    (STANDARD | {"normalize_activations": True}, "normalize_activations must be"),
    (STANDARD | {"normalize_activations": None}, "normalize_activations must be"),
    *(
        (form | {"normalize_activations": value}, value)
        for form in (OLD, STANDARD)
        for value in ("expected_average_only_in", "covariance_whitening", "batch_norm")
    ),
    (NEW | TOPK | {"rescale_acts_by_decoder_norm": 1}, "rescale_acts_by_decoder_norm is 1"),
    (NEW | {"architecture": "standard", "metadata": NEW["metadata"] | {"hook_head_index": 0}}, "hook_head_index is 0"),
]


@pytest.mark.parametrize(("config", "line"), REFUSED)
def test_what_is_not_computed_is_refused(tmp_path: Path, config: dict, line: str) -> None:
    write(tmp_path, config, {})
    with pytest.raises(DamagedError) as refused:
        load_sae(tmp_path)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (NEW | {"architecture": "topk"}, "its k, the number of active latents per token, is missing"),
        (OLD | {"architecture": "topk"}, "its k, the number of active latents per token, is missing"),
        (NEW | TOPK | {"activation_fn_kwargs": {"k": 4}}, "is 3 and 4"),
        (OLD | TOPK | {"activation_fn_kwargs": {"k": 4}}, "is 3 and 4"),
    ],
)
def test_a_topk_sae_says_its_k_once(tmp_path: Path, config: dict, line: str) -> None:
    write(tmp_path, config, TOPK)
    with pytest.raises(DamagedError, match=line):
        load_sae(tmp_path)


def test_a_scale_beside_the_weights_is_refused_unless_it_is_one(tmp_path: Path) -> None:
    sae = write(tmp_path, OLD, {})
    weights = load_file(tmp_path / "sae_weights.safetensors")
    for scale, is_said, line in ((2.0, True, "finetuning_scaling_factor is True"), (2.0, False, "finetuning_scaling")):
        save_file(weights | {"scaling_factor": torch.full((10,), scale)}, tmp_path / "sae_weights.safetensors")
        write_json(tmp_path / "cfg.json", OLD | {"finetuning_scaling_factor": is_said})
        with pytest.raises(DamagedError, match=line):
            load_sae(tmp_path)
    save_file(weights | {"scaling_factor": torch.ones(10)}, tmp_path / "sae_weights.safetensors")
    x = torch.randn(20, 6)
    coder = SaeCoder(load_sae(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(coder.decode(coder.encode(x), 20), sae(x), rtol=1e-5, atol=1e-5)
