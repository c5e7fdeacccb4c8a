"""Read and check the header of a GGUF file: the model's sizes and where its tensors lie; no torch.

The file is untrusted. Every length in it is compared with what is left of the file before it is used, since the readers
of other packages loop for ever, or run out of memory, on some damaged files.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itda_core.common.errors import UserError
from itda_core.common.files import unreadable
from itda_core.common.text import one_line

SUFFIX = ".gguf"
"""Suffix by which a GGUF file is known."""
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY, _BOOLEAN = 8, 9, 7
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOLEAN: "?", 10: "Q", 11: "q", 12: "d"}
"""Format of each type of number in the metadata, as `struct` has it."""
_ALIGNMENT = 32  # of the tensors' data, unless the metadata states another
_MOST_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufHeader:
    """Sizes of the model in a GGUF file, as far as its header states them."""

    architecture: str
    """Family of the model, as llama.cpp calls it."""
    n_layers: int | None
    """Number of blocks."""
    d_model: int | None
    """Width of the activations."""
    max_tokens: int | None
    """Maximum number of tokens that it reads."""
    n_parameters: int
    """Number of weights in its tensors."""


def is_gguf(path: Path) -> bool:
    """Return whether a path names a GGUF file, by its suffix; the file may be missing."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def gguf_name(path: Path) -> str:
    """Return the name of the model in a GGUF file, which is the file's own without the suffix.

    Raises UserError for a file without a name before it.
    """
    if path.stem in ("", ".", ".."):
        raise UserError(f"{path.name!r} has no name before {SUFFIX}: rename the file")
    return path.stem


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file, and check that the file holds all of its tensors.

    Raises:
        UserError: there is no such file, it cannot be read, or it is no complete GGUF file of a kind that is read.
    """
    name = path.name
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}: check the path")
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise UserError(f"{name} is no GGUF file: name one, or a folder in Hugging Face format")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _header(name, _Fields(data))
    except OSError as error:
        raise unreadable(path, error) from error
    except (struct.error, ValueError, OverflowError) as error:  # a field that cannot be, such as text not in UTF-8
        raise UserError(f"{name} is cut short or damaged: fetch or copy it again") from error


def _header(name: str, fields: "_Fields") -> GgufHeader:
    version = fields.number("I")
    if version in [each << 24 for each in _VERSIONS]:
        raise UserError(f"{name} is for big-endian processors: fetch or convert the model for little-endian ones")
    if version not in _VERSIONS:
        raise UserError(f"{name} is GGUF of version {version}, and 2 and 3 are read: convert the model to one of them")
    n_tensors, n_entries = fields.number("Q"), fields.number("Q")
    metadata = {}
    for _ in range(n_entries):
        key = fields.text()
        metadata[key] = fields.value(fields.number("I"))
    parts = _size(metadata, "split.count")
    if parts is not None and parts > 1:
        raise UserError(f"{name} is one of {parts} parts of a model: merge them with llama-gguf-split --merge")
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise UserError(f"{name} does not say of which architecture its model is: fetch or convert it again")
    tensors = [fields.tensor() for _ in range(n_tensors)]
    alignment = _size(metadata, "general.alignment") or _ALIGNMENT
    begin = math.ceil(fields.at / alignment) * alignment
    if any(begin + offset + _n_bytes(name, kind, count) > fields.size for count, kind, offset in tensors):
        raise UserError(f"{name} is cut short: fetch or copy it again")
    n_layers = _size(metadata, f"{architecture}.block_count")
    if n_layers is not None and n_layers > n_tensors:  # transformers would make as many layers before it looks for them
        raise UserError(f"{name} states {n_layers} layers and has {n_tensors} tensors: fetch or copy it again")
    if not metadata.get("tokenizer.ggml.tokens"):
        raise UserError(
            f"{name}, of architecture {one_line(architecture[:40])!r}, has no tokenizer, as parts and adapters of a "
            "model and models of images have none: name the file of a whole language model"
        )
    return GgufHeader(
        architecture,
        n_layers,
        _size(metadata, f"{architecture}.embedding_length"),
        _size(metadata, f"{architecture}.context_length"),
        sum(count for count, *_ in tensors),
    )


class _Fields:
    """Fields of a header, read one after another."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.size, self.at = data, len(data), len(_MAGIC)

    def number(self, kind: str) -> Any:
        """Read a number of a format of `struct`."""
        return self._unpack(kind)[0]

    def text(self) -> str:
        """Read a text."""
        begin = self._pass_over(self.number("Q"))
        return self._data[begin : self.at].decode()

    def value(self, kind: int) -> Any:
        """Read a value of the metadata; of an array only its length is kept."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_number_format(kind))
        item, length = self._unpack("IQ")
        if item != _STRING:
            self._pass_over(length * struct.calcsize(_number_format(item)))
            return length
        for _ in range(length):
            self._pass_over(self.number("Q"))
        return length

    def tensor(self) -> tuple[int, int, int]:
        """Read a tensor's number of weights, type, and place in the data."""
        self.text()
        n_dimensions = self.number("I")
        if n_dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {n_dimensions} dimensions")
        count = math.prod(self._unpack(f"{n_dimensions}Q"))
        return count, *self._unpack("IQ")

    def _unpack(self, kinds: str) -> tuple[Any, ...]:
        kinds = f"<{kinds}"
        begin = self._pass_over(struct.calcsize(kinds))
        return struct.unpack_from(kinds, self._data, begin)

    def _pass_over(self, length: int) -> int:
        """Go on by a length, and return where it began."""
        begin = self.at
        if length > self.size - begin:
            raise ValueError("a field is longer than the rest of the file")
        self.at += length
        return begin


def _number_format(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"a value of type {kind}")
    return _NUMBERS[kind]


def _size(metadata: dict[str, Any], key: str) -> int | None:
    value = metadata.get(key)
    return value if type(value) is int and value > 0 else None


def _n_bytes(name: str, kind: int, count: int) -> int:
    """Return the length of a tensor in the file."""
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise UserError(f"to read {name} the package gguf is needed: pip install gguf") from error
    try:
        weights, length = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (KeyError, ValueError) as error:
        raise UserError(f"{name} has weights of a type that is not known here ({kind}): name another file") from error
    return count // weights * length
