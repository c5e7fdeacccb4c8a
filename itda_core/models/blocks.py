"""Find a model's blocks, and whether padding affects activations, by running it.

Module names are not sufficient: a vision tower, or the attention modules of all blocks, may also form a list of the
model's depth. So an opened model reads one short text, and its blocks are the modules whose outputs are its own
`hidden_states`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from itda_core.common.errors import UserError
from itda_core.models.architectures import first_of, tensor_of
from itda_core.models.passes import lacks_memory
from itda_core.models.refusals import reason_of

_TEXT = "The quick brown fox jumps over the lazy dog, and 12 more of them sleep in the sun. " * 4
_TOKENS = 13  # not a round number: some families pad a text to a multiple of 8 or more
# Change by rounding that padding may cause, relative to a vector's norm: the larger of this and a multiple of the
# dtype's eps, for 32-bit and 16-bit numbers respectively.
_SAME, _ROUNDINGS = 1e-4, 16


class Blocks(NamedTuple):
    """Location of a model's blocks, and their sensitivity to padding."""

    path: str
    """Dotted name of the list of blocks."""
    sees_padding: bool
    """Whether a text's activations change if it is padded beside a longer one."""


def probe_ids(tokenizer: Any, most: int | None) -> list[int]:
    """Return up to 13 token ids of a short text, leading special tokens included.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        most: maximum number of tokens that the model reads; None for no limit.
    """
    return tokenizer.encode(_TEXT).ids[: min(_TOKENS, most or _TOKENS)]


def find_blocks(network: Any, n_layers: int, ids: list[int], pad_id: int) -> Blocks:
    """Find the outermost list of modules that run once each, in order, as the blocks.

    Their outputs are the model's `hidden_states`.

    Args:
        network: the model, which runs twice on few tokens. One without weights runs once, without values.
        n_layers: number of its blocks.
        ids: token ids to run on.
        pad_id: the token that a shorter row is padded with.

    Raises:
        UserError: there is no such list, or the model does not run on token ids alone.
    """
    family = type(network).__name__
    runs = {
        name: _Run(list(module))
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    }
    if not runs:
        raise UserError(f"{family} has no list of {n_layers} blocks: name a model of another family")
    has_weights = not network.get_input_embeddings().weight.is_meta
    short = ids[: len(ids) // 2]
    rows = torch.tensor([short + [pad_id] * (len(ids) - len(short)), ids])
    mask = torch.ones_like(rows)
    mask[0, len(short) :] = 0
    handles = [handle for run in runs.values() for handle in run.watch()]
    try:
        states = _hidden_states(network, rows, mask if has_weights else None)
    except UserError as error:
        if has_weights:
            raise
        if len(runs) > 1:  # not every model runs without values: a single list is unambiguous
            raise UserError(f"the layers of {family} cannot be identified without its weights: run it here") from error
        return Blocks(next(iter(runs)), sees_padding=not network.can_generate())
    finally:
        for handle in handles:
            handle.remove()
    refused = {name: run.refusal(states, rows.shape) for name, run in runs.items()}
    found = [name for name, reason in refused.items() if reason is None]
    if not found:
        reason = refused[max(runs, key=lambda name: len(set(runs[name].order)))]
        raise UserError(f"{family} {reason}: name another model")
    sees_padding = not network.can_generate()  # the assumption without weights
    if has_weights:
        alone = _hidden_states(network, torch.tensor([short, short]), torch.ones(2, len(short), dtype=torch.int64))
        sees_padding = any(
            _differ(beside.reshape(*rows.shape, -1)[0, : len(short)], by_itself.reshape(2, len(short), -1)[0])
            for beside, by_itself in zip(states, alone, strict=True)
        )
    return Blocks(min(found, key=lambda name: name.count(".")), sees_padding)


@dataclass
class _Run:
    """Record of one forward pass through a list of modules."""

    modules: list[torch.nn.Module]
    order: list[int] = field(default_factory=list)
    """Indices of the modules that ran, in order."""
    inputs: list[tuple[Any, ...]] = field(default_factory=list)
    """Inputs of each run."""
    outputs: list[Any] = field(default_factory=list)
    """Output of each run."""

    def watch(self) -> list[Any]:
        """Register hooks that record every run; return the handles that remove them."""
        return [
            module.register_forward_hook(self._recorder(number), with_kwargs=True)
            for number, module in enumerate(self.modules)
        ]

    def _recorder(self, number: int) -> Any:
        def ran(_module: Any, arguments: tuple, named: dict[str, Any], output: Any) -> None:
            self.order.append(number)
            self.inputs.append((*arguments, *named.values()))
            self.outputs.append(output)

        return ran

    def refusal(self, states: tuple[torch.Tensor, ...], shape: torch.Size) -> str | None:
        """Explain why the modules are not the model's blocks; None if they are."""
        n = len(self.modules)
        if self.order != list(range(n)):
            return f"runs {len(set(self.order))} of its {n} layers on text"
        outputs = [first_of(output) for output in self.outputs]
        for output in outputs:
            try:
                tensor_of(output, *shape)
            except UserError:
                got = list(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
                return f"gives {got} after a layer, not one vector for each of {shape[0]} × {shape[1]} tokens"
        for first in (1, 0):  # some families (Mamba, RWKV) do not include the embeddings
            hidden = states[first:]
            if len(hidden) < n or not all(map(_same, outputs[:-1], hidden)):
                continue
            # Most families normalise the last state: the last block is then identified by its input.
            before = hidden[n - 2] if n > 1 else states[0]
            if _same(outputs[-1], states[-1]) or any(_same(x, before) for x in self.inputs[-1]):
                return None
        return "has no modules whose outputs are its hidden states"


def _hidden_states(network: Any, ids: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    family, device = type(network).__name__, network.get_input_embeddings().weight.device
    inputs = {"input_ids": ids, "attention_mask": mask}
    try:
        with torch.no_grad():
            output = network(
                **{name: value.to(device) for name, value in inputs.items() if value is not None},
                output_hidden_states=True,
                return_dict=True,
            )
    except Exception as error:  # any error of a model that needs more than text
        if lacks_memory(error):
            raise UserError(f"{family} needs more memory than {device} has left: name a smaller model") from error
        remedy = (
            "name another model" if network.dtype == torch.float32 else "use --dtype float32, or name another model"
        )
        raise UserError(f"{family} does not run on a short text ({reason_of(error)}): {remedy}") from error
    states = getattr(output, "hidden_states", None)
    if not states:
        raise UserError(f"{family} returns no hidden states, which identify its layers: name another model")
    return tuple(states)


def _same(x: Any, state: torch.Tensor) -> bool:
    """Return whether a value is a hidden state, by identity or by equal values."""
    if x is state:
        return True
    if not isinstance(x, torch.Tensor) or x.is_meta or x.numel() != state.numel() or x.dtype != state.dtype:
        return False
    return torch.allclose(x.flatten(), state.to(x.device).flatten(), rtol=0, atol=0, equal_nan=True)


def _differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return whether vectors [n, width] differ by more than rounding."""
    tolerance = max(_SAME, _ROUNDINGS * torch.finfo(a.dtype).eps)
    a, b = a.float(), b.float().to(a.device)
    return bool(((a - b).norm(dim=-1) > tolerance * b.norm(dim=-1)).any())
