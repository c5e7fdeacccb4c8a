"""Checks of an SAE's configuration as written in its file.

SAELens ignores obsolete fields, some of which change what an SAE computes: one whose `activation_fn_str` is
`tanh-relu` would run with ReLU, without a warning.
"""

from typing import Any

ARCHITECTURES = ("standard", "topk", "jumprelu", "gated")
"""Architectures whose codes are positive and of one activation each, and whose output reconstructs their input."""
_COMPUTED: dict[str, tuple[Any, ...]] = {
    "architecture": ARCHITECTURES,
    "activation_fn": ("relu", "topk"),
    "activation_fn_str": ("relu", "topk"),
    "apply_b_dec_to_input": (False, True),
    "rescale_acts_by_decoder_norm": (False, True),
    "reshape_activations": ("none",),
    "finetuning_scaling_factor": (None, False),
    "is_transcoder": (None, False),
    "hook_name_out": (None,),
    "out_hook_point": (None,),
    "hook_head_index": (None,),
    "hook_point_head_index": (None,),
}
"""Fields that change an SAE's computation, its inputs or its outputs, with their supported values."""


def check_written(config: dict[str, Any]) -> None:
    """Reject a configuration, as written in its file, with an unsupported field.

    Unsupported fields are those that would be computed differently than they state.

    Raises ValueError with the field and its value.
    """
    for table in (config, _table(config, "metadata")):
        for name in _COMPUTED.keys() & table.keys():
            value = table[name]  # 0 or 1 must not match False or True
            _require(any(value == each and type(value) is type(each) for each in _COMPUTED[name]), table, name)
    _require(config.get("d_out") in (None, config.get("d_in")), config, "d_out")
    more = {name: value for name, value in _table(config, "activation_fn_kwargs").items() if name != "k"}
    _require(not any(more.values()), config, "activation_fn_kwargs")


def check_read(config: dict[str, Any], architecture: str, k: object) -> None:
    """Reject an SAE that was read as something else than its configuration states.

    Args:
        config: configuration as written in its file, accepted by `check_written`.
        architecture: the architecture that it was read as.
        k: active latents per token of the SAE that was read, if that is a TopK SAE.

    Raises ValueError with the field and its value.
    """
    for name in ("activation_fn", "activation_fn_str"):
        _require(config.get(name) != "topk" or architecture == "topk", config, name)
    if architecture == "topk":
        named = [table["k"] for table in (config, _table(config, "activation_fn_kwargs")) if table.get("k") is not None]
        if not named:
            raise ValueError("its k, the number of active latents per token, is missing")
        if any(value != k for value in named):
            raise ValueError(f"its k, the number of latents active at a token, is {' and '.join(map(_short, named))}")


def _table(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    _require(found is None or isinstance(found, dict), config, name)
    return found or {}


def _require(holds: bool, table: dict[str, Any], name: str) -> None:
    if not holds:
        raise ValueError(f"its {name} is {_short(table.get(name))}, which is not computed here")


def _short(value: object) -> str:
    return repr(value)[:60]
