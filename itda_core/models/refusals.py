"""Read a model's tokenizer, and explain in one line why its files cannot be read."""

import struct
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from itda_core.common.text import one_line

REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
    struct.error,
)
"""What the readers of transformers raise for files that state what cannot be."""
_LONGEST = 300
_IN_OTHER_WORDS = {
    "ignore_mismatched_sizes": "its weights are of other shapes than its configuration states",
    "instantiate the backend tokenizer": "it has no tokenizer",
}
"""What is meant, by a part of a message that speaks to a programmer."""


def read_tokenizer(folder: Path, **where: Any) -> Any:
    """Read a tokenizer as transformers does, the fast one if there is one.

    Raises one of `REFUSALS` if it cannot be read.
    """
    from transformers import AutoTokenizer  # here, because that takes seconds

    try:
        return AutoTokenizer.from_pretrained(folder, use_fast=True, **where)
    except Exception as error:
        if type(error) is Exception:  # the package tokenizers raises nothing more specific
            raise ValueError(str(error)) from error
        raise


def reason_of(error: BaseException) -> str:
    """Return the reason that an error of a reader gives, in one line of at most 300 characters."""
    text = str(error)
    plain = next((plain for part, plain in _IN_OTHER_WORDS.items() if part in text), None)
    if plain is not None:
        return plain
    if isinstance(error, KeyError):  # whose text is the key alone
        return f"it lacks {one_line(text)[:_LONGEST]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    first = one_line(" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])
    return first if len(first) <= _LONGEST else f"{first[: _LONGEST - 1]}…"
