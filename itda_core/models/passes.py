"""Run one forward pass of a model and explain failures in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from itda_core.common.errors import UserError
from itda_core.common.text import one_line
from itda_core.common.types import Site

if TYPE_CHECKING:
    from itda_core.models.model import Model

_NO_CPU_MEMORY = "DefaultCPUAllocator"  # named in the error of the CPU's, which has no type of its own


@contextmanager
def one_pass(model: "Model") -> Iterator[None]:
    """Lock a model for a forward pass without gradients.

    Raises UserError if the model fails in it.
    """
    with model.lock, torch.no_grad():
        try:
            yield
        except (RuntimeError, LookupError, ValueError, AssertionError, MemoryError) as error:
            if lacks_memory(error):
                raise UserError(
                    f"{model.name} needs more memory than {model.device} has left: lower --batch"
                ) from error
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            others = "" if model.dtype == torch.float32 else " use --dtype float32,"
            raise UserError(
                f"{model.name} fails on a text ({one_line(last)}): lower --context,{others} or name another model"
            ) from error


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error is of memory that cannot be had, on any device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_CPU_MEMORY in str(error)


def must_be_finite(model: "Model", site: Site, activations: torch.Tensor) -> None:
    """Raise UserError for an activation that is not finite."""
    if not torch.isfinite(activations).all():
        raise not_finite(f"layer {site.layer} {site.hook} of {model.name}", model.dtype)


def not_finite(subject: str, dtype: torch.dtype) -> UserError:
    """Return the error for values that are not finite, with the remedy for a data type."""
    name = str(dtype).removeprefix("torch.")
    remedy = f"{name}, whose numbers end at 65,504: use" if dtype == torch.float16 else f"{name}: try"
    return UserError(f"{subject} has values that are not finite in {remedy} --dtype bfloat16 or float32")
