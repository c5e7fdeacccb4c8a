"""Read a model's sizes from its files alone: a local folder or GGUF file, or the Hub cache.

Uses neither torch nor the network: of a Hub model that is not in the cache only the name is known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open

from itda_core.common.errors import UserError
from itda_core.common.files import read_json
from itda_core.models.gguf_header import gguf_name, is_gguf, read_gguf_header

# Names of these settings in the families' configurations.
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model", "dim")
_READS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "seq_length")
# Families that number positions from the padding id + 1: their position tables have that many extra rows.
_AFTER_PADDING = (
    *(
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
    ),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
_REVISION = re.compile(r"[\w][\w./-]{0,199}", re.ASCII)
_BILLIONS = re.compile(r"(?<![a-z0-9.])([0-9]{1,4}(?:\.[0-9]{1,3})?)b(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model, as far as they are known."""

    is_local: bool
    """Whether it is a folder or a file on this machine."""
    n_layers: int | None = None
    """Number of blocks."""
    d_model: int | None = None
    """Width of the activations."""
    max_tokens: int | None = None
    """Maximum number of tokens that it reads."""
    n_parameters: int | None = None
    """Parameters in its weights, or the number of billions in its name."""
    is_counted: bool = False
    """Whether the parameters were counted in its files."""


def model_shape(name: str, revision: str | None = None) -> ModelShape:
    """Return the known sizes of a model in a folder, in a GGUF file or in the Hub cache.

    Args:
        name: a folder in Hugging Face format, a GGUF file, or an id of the Hub.
        revision: branch, tag or commit on the Hub.

    Raises:
        UserError: it can be neither; DamagedError: its configuration cannot be read.
    """
    if not name.strip():
        raise UserError("name a model: a folder in Hugging Face format, a GGUF file, or an id of the Hub")
    try:
        folder = Path(name).expanduser()
        is_local = folder.is_dir()
        is_file = is_gguf(folder)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~` of a user that does not exist
        raise UserError(f"{name!r} is neither a folder nor an id of the Hub: check the name") from error
    if is_file:
        header = read_gguf_header(folder)
        return ModelShape(True, header.n_layers, header.d_model, header.max_tokens, header.n_parameters, True)
    if is_local:
        if not (folder / "config.json").is_file():
            raise UserError(f"{name} has no config.json: name a folder in Hugging Face format, or a GGUF file")
        if not list(folder.glob("*.safetensors")):
            raise UserError(f"{name} has no weights in safetensors, the one format that is read: convert it first")
        return _read(folder, is_local=True)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"there is no folder {name!r}, and it cannot be an id of the Hub: check the name") from error
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UserError(f"revision is {revision!r}: give a branch, a tag or a commit")
    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return _read(Path(cached).parent, is_local=False, name=name)
    return ModelShape(is_local=False, n_parameters=_parameters_in_name(name))


def local_name(name: str) -> str:
    """Return what manifests call a model in a folder or in a GGUF file."""
    path = Path(name).expanduser()
    return gguf_name(path) if is_gguf(path) else path.resolve().name


def most_tokens(config: Mapping[str, Any]) -> int | None:
    """Return the maximum number of tokens a model reads, special ones included.

    None if its configuration sets no limit.

    Args:
        config: the text model's configuration, as in `config.json`.
    """
    found = _number(config, _READS)
    if found is None or config.get("model_type") not in _AFTER_PADDING:
        return found
    padding = config.get("pad_token_id", 1)
    return found - padding - 1 if type(padding) is int else found


def _read(folder: Path, is_local: bool, name: str = "") -> ModelShape:
    config = read_json(folder / "config.json")
    config = config if isinstance(config, dict) else {}
    text = config.get("text_config")
    config = {**config, **(text if isinstance(text, dict) else {})}
    counted = _count_parameters(folder)
    return ModelShape(
        is_local,
        _number(config, _LAYERS),
        _number(config, _WIDTH),
        most_tokens(config),
        _parameters_in_name(name) if counted is None else counted,
        counted is not None,
    )


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = [config.get(name) for name in names]
    return next((value for value in found if type(value) is int and value > 0), None)


def _count_parameters(folder: Path) -> int | None:
    """Count the parameters from the headers of the weight files; None without any."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as weights:
                for key in weights.keys():  # noqa: SIM118 (not a mapping)
                    size = 1
                    for length in weights.get_slice(key).get_shape():
                        size *= length
                    total += size
        except (SafetensorError, OSError) as error:
            raise UserError(f"the weights {path.name} cannot be read ({error}): fetch them again") from error
    return total or None


def _parameters_in_name(name: str) -> int | None:
    """Parse the parameter count in a name: `Llama-3.1-70B-Instruct` → 70 billion."""
    found = _BILLIONS.findall(name)
    return round(float(found[-1]) * 1e9) if found else None
