"""Open models through nnsight: a folder in Hugging Face format, a GGUF file, or a Hub id.

nnsight and transformers are imported where a model is opened: that takes seconds, and many commands that know this
module open none.
"""

import hashlib
import importlib.util
import threading
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from itda_core.common.errors import UserError
from itda_core.common.text import one_line
from itda_core.common.types import Site
from itda_core.models.architectures import SubmoduleNames, listed_parts, probe_parts
from itda_core.models.blocks import find_blocks, probe_ids
from itda_core.models.gguf_cache import Say, converted_gguf, say_on_stderr
from itda_core.models.gguf_header import is_gguf
from itda_core.models.hub import WEIGHTS_FILE, fetch_model, weight_files
from itda_core.models.metadata import most_tokens
from itda_core.models.passes import one_pass
from itda_core.models.refusals import REFUSALS, read_tokenizer, reason_of

AUTO_DEVICE = "auto"
"""Device that distributes a model over the available GPUs and memory."""
_NO_TOKENIZER = "{name} has no tokenizer: put the model's own tokenizer.json beside its weights, or name another model"
_SLOW_TOKENIZER = "{name} has no fast tokenizer, which is needed to know each token's place in the text"


class Model:
    """A loaded model.

    Attributes:
        name: the Hub id, or the name of the folder or GGUF file.
        revision: the commit on the Hub; None for a model of this machine.
        tokenizer: a `tokenizers.Tokenizer`, neither padding nor truncating.
        n_layers, d_model, max_tokens: from its configuration.
        vocabulary: number of token embeddings.
        pad_id: the token that windows are padded with.
        sees_padding: whether padding changes the activations, so that only windows of equal length may be batched.
        predicts: whether it predicts the next token; an encoder does not.
        device: device of the token ids.
        dtype: data type that it computes in.
        lock: held during a trace, because concurrent traces on one model fail.
    """

    def __init__(
        self,
        name: str,
        revision: str | None,
        network: Any,
        tokenizer: Any,
        device: str,
        invented: frozenset[str] = frozenset(),
    ) -> None:
        """Wrap a transformers network.

        Args:
            name, revision: its origin.
            network: the model.
            tokenizer: its fast tokenizer, as transformers loads it.
            device: device of the token ids.
            invented: weights that no file contained, which transformers initialised at random.

        Raises:
            UserError: it has no blocks, or a weight that is read is among the invented ones.
        """
        config = network.config.get_text_config()
        if not hasattr(config, "num_hidden_layers") or not hasattr(config, "hidden_size"):
            raise UserError(f"{name} is no language model with layers: name another model")
        self.name = name
        self.revision = revision
        self.n_layers: int = config.num_hidden_layers
        self.d_model: int = config.hidden_size
        self.max_tokens: int | None = most_tokens(config.to_dict())
        self.device = device
        self.dtype: torch.dtype = network.dtype
        self.lock = threading.Lock()
        self.tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._network = network
        self._invented = invented
        embeddings = _embeddings(name, network)
        self.vocabulary: int = embeddings.weight.shape[0]
        _check_vocabulary(name, self.tokenizer, self.vocabulary)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.pad_id: int = 0 if pad is None or pad >= self.vocabulary else pad
        self._probe_ids = probe_ids(self.tokenizer, self.max_tokens)
        self._blocks, self.sees_padding = find_blocks(network, self.n_layers, self._probe_ids, self.pad_id)
        self._parts: SubmoduleNames | None = listed_parts(config.model_type)
        read = [key for key in invented if key.startswith(f"{self._blocks}.") or _is_of(network, key, embeddings)]
        if read:
            raise UserError(f"{name} lacks {len(read)} of its weights, such as {min(read)}: name a whole model")
        self.predicts: bool = network.can_generate()
        spread = hasattr(network, "hf_device_map")
        from nnsight import TransformersModel

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* has a submodule named", category=UserWarning)  # see module()
            self.nnsight = TransformersModel(
                network,
                task="text-generation" if self.predicts else "feature-extraction",
                tokenizer=tokenizer,
                rename={self._blocks: "blocks"},
                device=None if spread else device,  # a distributed model must not be moved
            )

    def must_read(self, context: int) -> None:
        """Raise UserError if windows of `context` tokens are too long for the model.

        The special tokens around them count too.
        """
        special = self.tokenizer.num_special_tokens_to_add(False)
        if self.max_tokens is not None and context + special > self.max_tokens:
            note = f", {special} of them special" if special else ""
            raise UserError(
                f"{self.name} reads {self.max_tokens} tokens at most{note}: use --context {self.max_tokens - special} "
                "or less"
            )

    def module(self, site: Site) -> Any:
        """Return nnsight's handle on the module whose output a site is.

        Raises UserError if the model has no such site.
        """
        if site.layer >= self.n_layers:
            raise UserError(f"{self.name} has layers 0 to {self.n_layers - 1}: there is no layer {site.layer}")
        handle = self.nnsight.blocks[site.layer]
        if site.hook != "resid":
            for part in getattr(self._known_parts(), site.hook).split("."):
                # nnsight renames a module whose name clashes with its own attributes, such as `output`, in this way.
                handle = getattr(handle, f"E_{part}" if hasattr(type(handle), part) else part)
        return handle

    def _known_parts(self) -> SubmoduleNames:
        """Return the attention and MLP modules of the blocks.

        A family that is not listed is probed once.
        """
        if self._parts is None:
            with one_pass(self):
                ids = torch.tensor([self._probe_ids] * 2, device=self.device)
                self._parts = probe_parts(self._network, self._network.get_submodule(self._blocks), ids)
        return self._parts

    def weights_sha256(self) -> str | None:
        """Return the SHA-256 over the loaded weights, by name; None without weights.

        Weights that no file contained are left out.
        """
        if self.device == "meta":
            return None
        digest = hashlib.sha256()
        for name, tensor in sorted(self._network.state_dict().items()):
            if name in self._invented:
                continue
            if tensor.is_meta:  # offloaded: fetched when it is needed
                owner, _, leaf = name.rpartition(".")
                tensor = self._network.get_submodule(owner)._hf_hook.weights_map[leaf]
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def tokenizer_sha256(self) -> str:
        """Return the SHA-256 of the tokenizer.

        Two models with the same tokenizer share token positions.
        """
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()


def load_model(
    name: str,
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    say: Say = say_on_stderr,
) -> Model:
    """Load a model from a local folder, a GGUF file or the Hub.

    Weights are read in safetensors or GGUF only, and no code of the repository is run. A GGUF file is converted to
    safetensors once, in the user's cache.

    Args:
        name: a folder in Hugging Face format, a GGUF file, or an id such as `EleutherAI/pythia-70m-deduped`.
        revision: branch, tag or commit on the Hub.
        device: `cpu`, `cuda`, `mps`, or `auto` to distribute it over all devices; None selects CUDA if available, else
            the CPU.
        dtype: data type that the model computes in.
        say: called with a message before a GGUF file is converted.

    Raises:
        UserError: the model does not exist, is gated, or has an unknown format; or the device does not exist.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_device(device)
    folder = Path(name).expanduser()
    if is_gguf(folder):
        if revision is not None:
            raise UserError(f"{name} is a file and has no revisions: leave --revision out")
        folder = converted_gguf(folder, say)
        name, commit = folder.name, None
    elif folder.is_dir():
        _check_folder(name, folder)
        if revision is not None:
            raise UserError(f"{name} is a folder and has no revisions: leave --revision out")
        name, commit = folder.resolve().name, None
    else:
        folder = fetch_model(name, revision)
        commit = folder.name
    network, tokenizer, invented = _open(name, folder, device, dtype)
    if device == AUTO_DEVICE:
        device = str(network.get_input_embeddings().weight.device)
        if device == "meta":  # offloaded to disk
            raise UserError(f"not even the embeddings of {name} fit in memory: choose a smaller --dtype or model")
    return Model(name, commit, network, tokenizer, device, invented)


def load_outline(name: str, revision: str | None = None) -> Model:
    """Load a Hub model that runs on a server: config, tokenizer, weightless modules.

    Raises:
        UserError: the model does not exist, is gated, or has an unknown format.
    """
    path = Path(name).expanduser()
    if path.is_dir() or is_gguf(path):
        kind = "a folder" if path.is_dir() else "a file"
        raise UserError(f"{name} is {kind}: a model that runs on a server is named by its id on the Hub")
    folder = fetch_model(name, revision, weights=False)
    where: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = _config(name, folder, where)
        tokenizer = read_tokenizer(folder, **where)
        config.name_or_path = name  # the server identifies it by this name
        with torch.device("meta"):
            network = _auto_class(config).from_config(config)
    except REFUSALS as error:
        raise UserError(_reason(name, error)) from error
    if not tokenizer.is_fast:
        raise UserError(_SLOW_TOKENIZER.format(name=name))
    model = Model(name, folder.name, network.eval(), tokenizer, "meta")
    model.nnsight.revision = revision
    return model


def _open(name: str, folder: Path, device: str, dtype: str) -> tuple[Any, Any, frozenset[str]]:
    """Load the network, its tokenizer, and the names of missing weights.

    Missing weights are those that no file contained.
    """
    where: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = _config(name, folder, where)
        tokenizer = read_tokenizer(folder, **where)
        network, loading = _auto_class(config).from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            device_map=AUTO_DEVICE if device == AUTO_DEVICE else None,
            output_loading_info=True,
            **where,
        )
    except REFUSALS as error:
        raise UserError(_reason(name, error)) from error
    if not tokenizer.is_fast:
        raise UserError(_SLOW_TOKENIZER.format(name=name))
    if device != AUTO_DEVICE:
        try:
            network.to(device)
        except RuntimeError as error:
            raise UserError(f"{name} cannot go to {device!r}: {one_line(str(error))}") from error
    return network.eval(), tokenizer, frozenset(loading["missing_keys"])


def _config(name: str, folder: Path, where: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, **where)
    if config.is_encoder_decoder:
        raise UserError(f"{name} is an encoder with a decoder, which are not read here: name a model that is one")
    return config


def _auto_class(config: Any) -> Any:
    """Return the auto class that opens a checkpoint.

    A checkpoint that predicts the next token is opened with its head. An encoder is opened as an encoder alone. A part
    that the checkpoint lacks would be initialised at random, so a checkpoint without a head is opened without one.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    has = config.architectures or ()
    if modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) in has:
        return transformers.AutoModelForCausalLM
    if modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(config.model_type) in has:
        return transformers.AutoModelForTextEncoding
    return transformers.AutoModel


def _embeddings(name: str, network: Any) -> Any:
    """Return the module of the token embeddings."""
    try:
        embeddings = network.get_input_embeddings()
    except NotImplementedError:  # raised by a model of images and text (CLIP)
        embeddings = None
    weight = getattr(embeddings, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:  # that of a convolution over images has more
        raise UserError(f"{name} ({type(network).__name__}) takes no token ids: name a model of text")
    return embeddings


def _check_vocabulary(name: str, tokenizer: Tokenizer, vocabulary: int) -> None:
    """Reject a tokenizer that is empty, or belongs to another model.

    Added tokens may lack embeddings: they hardly occur in texts.
    """
    known = tokenizer.get_vocab_size(with_added_tokens=False)
    if known == 0:  # transformers makes an empty one where there is none
        raise UserError(_NO_TOKENIZER.format(name=name))
    if known > vocabulary:
        raise UserError(
            f"{name} has embeddings of {vocabulary} tokens and a tokenizer of {known}: bring the model's own tokenizer"
        )


def _is_of(network: torch.nn.Module, key: str, module: torch.nn.Module) -> bool:
    """Return whether a weight is a direct parameter of a module."""
    return network.get_submodule(key.rpartition(".")[0]) is module


def _check_device(device: str) -> None:
    """Reject a device that does not exist, before anything is fetched."""
    if device == AUTO_DEVICE:
        if importlib.util.find_spec("accelerate") is None:
            raise UserError("--device auto needs accelerate: pip install accelerate, or name one device")
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: torch built without CUDA
        raise UserError(
            f"there is no device {device!r} here ({reason_of(error)}): name another, such as cpu"
        ) from error


def _check_folder(name: str, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{name} has no config.json: name a folder in Hugging Face format, or a GGUF file")
    if not (folder / WEIGHTS_FILE).is_file() and not all((folder / file).is_file() for file in weight_files(folder)):
        raise UserError(
            f"{name} has no {WEIGHTS_FILE}, or not all of its parts: name a folder with weights in safetensors"
        )


def _reason(name: str, error: BaseException) -> str:
    """Explain in one line why the files of a model cannot be loaded."""
    text = str(error)
    if "trust_remote_code" in text:
        return f"{name} needs code of its own, which is never run here: name a model that transformers knows"
    if isinstance(error, SafetensorError):
        return f"{name} has damaged weights ({one_line(text)}): fetch or copy it again"
    return f"{name} cannot be loaded: {reason_of(error)}"
