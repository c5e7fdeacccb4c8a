"""Find the modules of a block that output the contributions of attention and MLP.

In all families attn + mlp + the block's input = the block's output. For the families in `_LISTED` the modules are known
and tested; for others they are found and checked by a probe, one short forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import UserError
from itda_core.models.passes import not_finite


class SubmoduleNames(NamedTuple):
    """Modules of a block whose outputs are added to the residual stream.

    Dotted names relative to the block.
    """

    attn: str
    """Module of the attention's contribution."""
    mlp: str
    """Module of the MLP's contribution."""


_LLAMA = SubmoduleNames("self_attn", "mlp")
_GPT2 = SubmoduleNames("attn", "mlp")
# Gemma 2 and 3 normalise a sub-layer's output before adding it to the stream: the norm's output is the contribution.
_GEMMA2 = SubmoduleNames("post_attention_layernorm", "post_feedforward_layernorm")
_LISTED = {
    "gemma": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "gpt2": _GPT2,
    "gpt_neo": _GPT2,
    "gpt_neox": SubmoduleNames("attention", "mlp"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
_USE_RESID = "use --hook resid"
# A block rounds twice, each time by at most half an eps of the terms, so this factor is ample; wrong modules are off by
# far more.
_ROUNDINGS = 4


def listed_parts(model_type: str) -> SubmoduleNames | None:
    """Return the modules of a known family by the `model_type` of its text config.

    None for other families.
    """
    return _LISTED.get(model_type)


def first_of(output: Any) -> Any:
    """Return the residual stream from a block's output.

    If the output is a tuple or a list, it is the first item.
    """
    return output[0] if isinstance(output, Sequence) and output else output


def tensor_of(output: Any, rows: int, tokens: int) -> torch.Tensor:
    """Return a module's output as [rows, tokens, width].

    Some modules (OPT's) merge rows and tokens into one dimension.

    Raises:
        UserError: the output has no such form.
    """
    tensor = first_of(output)
    is_numbers = isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    if is_numbers and tensor.shape[:-1] in ((rows, tokens), (rows * tokens,)):
        return tensor.reshape(rows, tokens, -1)
    shape = list(tensor.shape) if is_numbers else type(output).__name__
    raise UserError(f"a module gives {shape}, not one vector for each token: name another hook")


def with_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """Replace the vectors in a module's output, keeping its other items.

    The inverse of `tensor_of`.

    Args:
        output: the module's output.
        tensor: [rows, tokens, width].
    """
    if isinstance(output, torch.Tensor):
        return tensor.reshape(output.shape)
    first, *others = output
    changed = [tensor.reshape(first.shape), *others]
    return changed if isinstance(output, list) else tuple(changed)


@dataclass
class _BlockRun:
    """Inputs and outputs of a block, recorded in one forward pass."""

    shape: torch.Size
    """Rows and tokens."""
    stream: Any = None
    """Input of the block."""
    output: Any = None
    """Output of the block."""
    inner: dict[str, Any] = field(default_factory=dict)
    """Output of each submodule, in order of their return."""
    repeated: set[str] = field(default_factory=set)
    """Submodules that ran more than once, and so have no single output."""


def probe_parts(network: Any, blocks: torch.nn.Module, ids: torch.Tensor) -> SubmoduleNames:
    """Find the two modules whose outputs plus a block's input give the block's output.

    The same two in every block.

    Args:
        network: the model, which runs once.
        blocks: its list of blocks.
        ids: [rows, tokens] int64 token ids for the run, on the model's input device.

    Raises:
        UserError: no two modules add up, the weights are not loaded, or no layer gives finite values.
    """
    family = type(network).__name__
    if any(parameter.is_meta for parameter in network.parameters()) and not hasattr(network, "hf_device_map"):
        raise UserError(f"{family} is of a family that is not known here, and is not loaded to be tried: {_USE_RESID}")
    runs = [_BlockRun(ids.shape) for _ in blocks.children()]
    handles = [handle for block, run in zip(blocks.children(), runs, strict=True) for handle in _watch(block, run)]
    try:
        with torch.no_grad():
            network(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for handle in handles:
            handle.remove()
    seen = [(block, run) for block, run in zip(blocks.children(), runs, strict=True) if _is_finite(run)]
    if not seen:  # a single layer that overflows is reported when it is captured
        raise not_finite(f"every layer of {family}", network.dtype)
    pairs = _pairs(seen[0][1])
    for _, run in seen:
        pairs = [pair for pair in pairs if _adds_up(run, pair)]
    if pairs:
        return pairs[0]
    if all(_ends_in_norm(run, block) for block, run in seen):
        raise UserError(
            f"{family} norms the sum after attention and MLP are added, so neither has a part: {_USE_RESID}"
        )
    raise UserError(f"no attention and MLP modules of {family} add up to what its blocks add: {_USE_RESID}")


def _watch(block: torch.nn.Module, run: _BlockRun) -> list[Any]:
    def enter(_module: Any, arguments: tuple, named: dict[str, Any]) -> None:
        run.stream = arguments[0] if arguments else named.get("hidden_states")

    def leave(_module: Any, _arguments: Any, output: Any) -> None:
        run.output = output

    def inside(name: str):
        def leave(_module: Any, _arguments: Any, output: Any) -> None:
            if name in run.inner:
                run.repeated.add(name)
            run.inner[name] = output  # not a copy: a capture also sees later changes in place

        return leave

    return [
        block.register_forward_pre_hook(enter, with_kwargs=True),
        block.register_forward_hook(leave),
        *(module.register_forward_hook(inside(name)) for name, module in block.named_modules() if name),
    ]


def _pairs(run: _BlockRun) -> list[SubmoduleNames]:
    """List pairs of an attention module and an MLP module that returns after it.

    Outermost modules first.
    """
    names = [name for name in run.inner if name not in run.repeated]
    pairs = [
        SubmoduleNames(attn, mlp)
        for at, attn in enumerate(names)
        for mlp in names[at + 1 :]
        if _is_attention(attn) and not _is_attention(mlp)
    ]
    return sorted(pairs, key=lambda pair: pair.attn.count(".") + pair.mlp.count("."))


def _is_attention(name: str) -> bool:
    return "attn" in name.lower() or "attention" in name.lower()


def _adds_up(run: _BlockRun, pair: SubmoduleNames) -> bool:
    outputs = (run.stream, run.inner.get(pair.attn), run.inner.get(pair.mlp), run.output)
    seen = [values for output in outputs if (values := _vectors(output, run.shape)) is not None]
    if len(seen) < len(outputs) or len({values.shape for values in seen}) > 1:
        return False
    *added, total = (values.double().cpu() for values in seen)
    bound = _ROUNDINGS * torch.finfo(seen[-1].dtype).eps * sum(values.abs() for values in added)
    return bool(((sum(added) - total).abs() <= bound).all())


def _ends_in_norm(run: _BlockRun, block: torch.nn.Module) -> bool:
    total = _vectors(run.output, run.shape)
    return total is not None and any(
        "norm" in type(block.get_submodule(name)).__name__.lower()
        and (values := _vectors(output, run.shape)) is not None
        and values.shape == total.shape
        and torch.equal(values, total)
        for name, output in run.inner.items()
    )


def _is_finite(run: _BlockRun) -> bool:
    """Return whether no vector into or out of a block is infinite or NaN."""
    return all(
        (values := _vectors(output, run.shape)) is None or bool(values.isfinite().all())
        for output in (run.stream, run.output)
    )


def _vectors(output: Any, shape: torch.Size) -> torch.Tensor | None:
    """Return [rows, tokens, width] of the probe's pass, or None for other outputs."""
    try:
        return tensor_of(output, *shape)
    except UserError:
        return None
