"""Convert a GGUF file to a folder in Hugging Face format, through transformers."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

from itda_core.common.errors import UserError
from itda_core.models.gguf_header import SUFFIX
from itda_core.models.refusals import REFUSALS, read_tokenizer, reason_of

_PACKAGES = ("gguf", "accelerate")  # those that transformers needs for it


def convert_gguf(path: Path, folder: Path) -> None:
    """Write the model of a GGUF file into a folder: weights in float32, configuration and tokenizer.

    Raises:
        UserError: a package is missing, or transformers cannot read the file.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"to read {path.name} the package {package} is needed: pip install {package}")
    with tempfile.TemporaryDirectory() as alone:
        # By a link in an empty folder: transformers would also take files beside it, such as another tokenizer.
        link = Path(alone) / f"model{SUFFIX}"
        link.symlink_to(path.resolve())
        try:
            network, tokenizer = _read(path.name, link)
        except REFUSALS as error:
            if isinstance(error, OSError) and error.errno is not None:  # the system's own, which is not of the file
                raise
            raise UserError(
                f"{path.name} cannot be converted ({reason_of(error)}): name the model in Hugging Face format"
            ) from error
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _read(name: str, link: Path) -> tuple[Any, Any]:
    where: dict[str, Any] = {"gguf_file": link.name, "trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(link.parent, **where)
    if config.is_encoder_decoder:
        raise UserError(f"{name} is an encoder with a decoder, which are not read here: name a model that is one")
    tokenizer = read_tokenizer(link.parent, **where)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        link.parent,
        config=config,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),  # quantized modules could be neither saved nor hashed
        output_loading_info=True,
        **where,
    )
    network, loading = loaded
    if missing := sorted(loading["missing_keys"]):  # transformers drew them at random
        raise UserError(f"{name} lacks {len(missing)} of its weights, such as {missing[0]}: name a whole model")
    return network, tokenizer
