"""Models in Hugging Face format, opened through nnsight: a local folder or an id of the Hub, by the same path."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from nnsight import TransformersModel
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from itda_core.types import Site, UserError, one_line

_ATTENTION = ("self_attn", "attn", "attention")
_MLP = ("mlp", "feed_forward")


class Model:
    """A loaded model.

    Attributes:
        name: the Hub id, or the folder's name.
        revision: the commit on the Hub; None for a folder.
        tokenizer: a `tokenizers.Tokenizer`, neither padding nor truncating.
        n_layers, d_model, max_tokens: from its configuration.
        pad_id: the token that windows are padded with; never attended to.
        lock: held during a trace, because concurrent traces on one model fail.
    """

    def __init__(self, name: str, revision: str | None, network: Any, tokenizer: Any, device: str) -> None:
        config = network.config.get_text_config()
        self.name = name
        self.revision = revision
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.max_tokens: int | None = getattr(config, "max_position_embeddings", None)
        self.device = device
        self.lock = threading.Lock()
        self.tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.pad_id: int = 0 if pad is None else pad
        self._network = network
        self.nnsight = TransformersModel(
            network,
            task="text-generation",
            tokenizer=tokenizer,
            rename={_blocks_path(network, self.n_layers): "blocks"},
            device=device,
        )

    def module(self, site: Site) -> Any:
        """nnsight's handle on the module whose output a site is. Raises UserError where the model has no such place."""
        if site.layer >= self.n_layers:
            raise UserError(f"{self.name} has layers 0 to {self.n_layers - 1}: there is no layer {site.layer}")
        block = self.nnsight.blocks[site.layer]
        if site.hook == "resid":
            return block
        # Gemma 2 and 3 norm what a sub-layer returns before it joins the stream: the norm's output is the contribution.
        if hasattr(block, "post_feedforward_layernorm"):
            return block.post_attention_layernorm if site.hook == "attn" else block.post_feedforward_layernorm
        for candidate in _ATTENTION if site.hook == "attn" else _MLP:
            if hasattr(block, candidate):
                return getattr(block, candidate)
        raise UserError(f"{self.name} has no {site.hook} module that is known here: use --hook resid")

    def weights_sha256(self) -> str | None:
        """SHA-256 over the weights as loaded, by name; None for those of a model that runs elsewhere."""
        if self.device == "meta":
            return None
        digest = hashlib.sha256()
        for name, tensor in sorted(self._network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def tokenizer_sha256(self) -> str:
        """SHA-256 of the tokenizer: two models with the same one share token positions."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()


def load_model(
    name: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    remote: bool = False,
) -> Model:
    """Load a model from a local folder or the Hub, weights in safetensors only, no code of the repository run.

    Args:
        name: a folder in Hugging Face format, or an id such as `EleutherAI/pythia-70m-deduped`.
        revision: branch, tag or commit on the Hub.
        device: `cpu`, `cuda`, `mps`; None takes CUDA where there is one, and the CPU elsewhere.
        dtype: what the model computes in.
        remote: the model runs on a server: only its configuration and tokenizer are loaded.

    Raises:
        UserError: the model is not there, is gated, or is not in a format that is known.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = Path(name).expanduser()
    local = folder.is_dir()
    if local and not (folder / "config.json").is_file():
        raise UserError(f"{name} has no config.json: name a folder in Hugging Face format")
    if not local:
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            raise UserError(f"there is no folder {name!r}, and it cannot be an id of the Hub") from error
    where: dict[str, Any] = {"trust_remote_code": False}  # unset, transformers asks on stdin and may run it
    if not local:
        where["revision"] = revision
    path = str(folder) if local else name
    try:
        config = AutoConfig.from_pretrained(path, **where)
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, **where)
        network: Any = (
            _outline(config)
            if remote
            else AutoModelForCausalLM.from_pretrained(
                path, config=config, dtype=getattr(torch, dtype), use_safetensors=True, **where
            )
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(_reason(name, error)) from error
    if not tokenizer.is_fast:
        raise UserError(f"{name} has no fast tokenizer, which is needed to know each token's place in the text")
    device = "meta" if remote else device
    try:
        network.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
        raise UserError(f"{name} cannot go to {device!r}: {one_line(str(error))}") from error
    if local:
        return Model(folder.resolve().name, None, network, tokenizer, device)
    return Model(name, _commit(name, revision), network, tokenizer, device)


def _outline(config: Any) -> torch.nn.Module:
    """The modules of a model, without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _reason(name: str, error: BaseException) -> str:
    """Why a model did not load, in one line: transformers wraps what the Hub said, so its cause is looked for."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case GatedRepoError():
                return f"{name} is gated: accept its terms on the Hub and set HF_TOKEN"
            case RepositoryNotFoundError():
                return f"there is no folder and no Hub model {name!r}: check the name, or set HF_TOKEN if it is private"
            case OfflineModeIsEnabled():
                return f"{name} is not in the cache and HF_HUB_OFFLINE is set: go online once to fetch it"
        cause = cause.__cause__ or cause.__context__
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{name} cannot be loaded: {one_line(first)}"


def _commit(name: str, revision: str | None) -> str | None:
    """The commit of a model that was just loaded from the Hub: its files lie in a folder named by it."""
    path = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else None


def _blocks_path(network: torch.nn.Module, n_layers: int) -> str:
    """Where the blocks are: the outermost list of as many modules as the configuration has layers."""
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    ]
    if not found:
        raise UserError(f"no list of {n_layers} blocks in {type(network).__name__}: this family is not known here")
    return min(found, key=lambda name: name.count("."))
