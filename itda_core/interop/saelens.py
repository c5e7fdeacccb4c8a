"""SAE interface of a dictionary: encode, decode, `W_enc`, `W_dec`, `b_dec`, `cfg`.

`ItdaSae` works with code that accepts any SAE (SAELens' evaluations, SAEBench, custom hooks), and imports neither.
Its codes are those of the dictionary, signed; dense tensors are created only on request. For the encoder, which a
dictionary does not have, `W_enc` is the transpose of `W_dec`, which the first step of pursuit uses but which does not
determine the codes; `b_enc` is zero, and `b_dec` the dictionary's mean, or zero without centring.

`write_sae_folder` writes the files that `sae_lens.SAE.load_from_disk` reads, as SAELens' own matching pursuit. That
one has no negative coefficients, so a dictionary that has them stores each atom twice: latent n_atoms + i is minus
atom i, and the difference of both latents is the coefficient.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save

from itda_core.common.errors import UserError
from itda_core.common.types import Codes, Site
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.sae.hooks import hook_name
from itda_core.interop.external import ExternalDictionary
from itda_core.interop.formats.manifest import Exported
from itda_core.library.manifest import DictionaryManifest
from itda_core.pursuit.tensors import real_tensor
from itda_core.reports.sae import CONFIG_FILE, WEIGHTS_FILE

_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclass
class SaeConfig:
    """Configuration of an SAE, with the fields that other tools read.

    They also write to it, so it is not frozen.
    """

    d_in: int
    """Activation dimension."""
    d_sae: int
    """Number of latents, which are the atoms."""
    model_name: str
    """The model's name."""
    hook_name: str
    """TransformerLens' name of the site."""
    hook_layer: int
    """Block index, from 0."""
    context_size: int
    """Tokens in a window, including special tokens."""
    k: int
    """Pursuit steps: the maximum number of active latents."""
    dtype: str = "float32"
    """Data type of weights and codes."""
    device: str = "cpu"
    """Device of the weights."""
    hook_head_index: int | None = None
    """Always None: not of a single attention head."""
    prepend_bos: bool = False
    """Whether texts have to begin with a BOS token; as the tokenizer adds it in building."""
    normalize_activations: str = "none"
    """Activations are not normalised."""
    apply_b_dec_to_input: bool = False
    """Whether `b_dec`, the dictionary's mean, is subtracted from activations first; it is zero otherwise."""
    reshape_activations: str = "none"
    """Activations are vectors."""
    seqpos_slice: tuple[int | None, ...] = (None,)
    """All positions."""
    model_from_pretrained_kwargs: dict[str, Any] = field(default_factory=dict)
    """No special options for loading the model."""
    dataset_trust_remote_code: bool = False
    """No code of a data set is run."""

    def __post_init__(self) -> None:
        # Newer code reads these fields from `cfg.metadata`, and treats missing ones as None.
        self.metadata = SimpleNamespace(
            model_name=self.model_name,
            hook_name=self.hook_name,
            hook_layer=self.hook_layer,
            hook_head_index=self.hook_head_index,
            context_size=self.context_size,
            prepend_bos=self.prepend_bos,
            seqpos_slice=self.seqpos_slice,
            exclude_special_tokens=None,
            model_from_pretrained_kwargs=self.model_from_pretrained_kwargs,
        )

    @staticmethod
    def architecture() -> str:
        """Return the kind of SAE."""
        return "itda"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {**asdict(self), "architecture": self.architecture()}


class ItdaSae(torch.nn.Module):
    """A dictionary with the interface of an SAE.

    `to` moves it, and `dtype` is that of its weights and codes.
    """

    def __init__(
        self, dictionary: Dictionary, site: Site, model_name: str, context: int = 128, prepend_bos: bool = False
    ) -> None:
        """Wrap a dictionary.

        Args:
            dictionary: the atoms, and the L0 that it encodes with.
            site: the site in the model.
            model_name: name under which the using code loads the model.
            context: tokens in a window, including special tokens.
            prepend_bos: whether texts have to begin with a BOS token.
        """
        super().__init__()
        self._dictionary = dictionary
        n, width = dictionary.atoms.shape
        self.W_dec = torch.nn.Parameter(dictionary.atoms.clone(), requires_grad=False)
        self.b_dec = torch.nn.Parameter(dictionary.mean.clone(), requires_grad=False)
        self.b_enc = torch.nn.Parameter(torch.zeros(n), requires_grad=False)
        self.cfg = SaeConfig(
            width,
            n,
            model_name,
            hook_name(site),
            site.layer,
            context,
            dictionary.settings.l0,
            prepend_bos=prepend_bos,
            apply_b_dec_to_input=dictionary.is_centered,
        )

    @classmethod
    def of(cls, record: DictionaryManifest, dictionary: Dictionary, model_name: str | None = None) -> "ItdaSae":
        """Wrap a dictionary of a library.

        `model_name` overrides the name under which the model is loaded.
        """
        context, prefix = record.cut.context, record.prefix or 0
        return cls(dictionary, record.site, model_name or record.model, context + prefix, bool(prefix))

    @property
    def W_enc(self) -> torch.Tensor:
        """Transpose of `W_dec`, [d_in, d_sae]."""
        return self.W_dec.T

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of weights and codes."""
        return self.W_dec.dtype

    def to(self, *args: Any, **kwargs: Any) -> "ItdaSae":
        """Move the module or change its type, like any module."""
        super().to(*args, **kwargs)
        self.cfg.device, self.cfg.dtype = str(self.device), _DTYPES.get(self.dtype, str(self.dtype))
        return self

    def encode_sparse(self, x: Any) -> Codes:
        """Return sparse codes of x [..., d_in], leading dimensions flattened into rows.

        Raises ValueError as `encode` does.
        """
        x = _floats(x, "x").detach().to(self.device, torch.float32)
        if x.shape[-1:] != (self.cfg.d_in,):
            raise ValueError(f"x: expected activations [..., {self.cfg.d_in}]; got {list(x.shape)}")
        return self._dictionary.encode(x.reshape(-1, self.cfg.d_in))

    def encode(self, x: Any) -> torch.Tensor:
        """Return codes of x [..., d_in], a tensor, an array or lists, as a dense tensor [..., d_sae].

        It takes 4 bytes for every atom and activation.

        Raises ValueError for another activation dimension, or a value that is not real and finite.
        """
        x = _floats(x, "x")
        codes = self.encode_sparse(x)
        rows = x[..., 0].numel()
        dense = torch.zeros(rows, self.cfg.d_sae, dtype=self.dtype, device=self.device)
        at = (torch.from_numpy(codes.row).to(self.device), torch.from_numpy(codes.atom).to(self.device))
        dense[at] = torch.from_numpy(codes.coefficient).to(self.device, self.dtype)
        return dense.reshape(*x.shape[:-1], self.cfg.d_sae)

    def decode(self, feature_acts: Any) -> torch.Tensor:
        """Return reconstructions [..., d_in] from codes [..., d_sae], a tensor, an array or lists."""
        return _floats(feature_acts, "feature_acts").to(self.device, self.dtype) @ self.W_dec + self.b_dec

    def forward(self, x: Any) -> torch.Tensor:
        """Return reconstructions of x [..., d_in]."""
        return self.decode(self.encode(x))


def _floats(value: Any, name: str) -> torch.Tensor:
    """Return a tensor as it is, with its gradients, and array-likes as one."""
    is_tensor = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value if is_tensor else real_tensor(value, name)


def write_sae_folder(source: Exported, folder: Path, prefix: int) -> None:
    """Write a dictionary as a SAELens matching-pursuit SAE into an existing folder.

    Args:
        source: the dictionary.
        folder: target folder.
        prefix: number of special tokens that its tokenizer adds before a text.

    Raises UserError for a pursuit method that SAELens does not support.
    """
    record, atoms = source.record, source.dictionary.atoms
    method = record.settings.method
    if method in ("orthogonal", "refitted"):
        raise UserError(
            f"{record.id} decomposes by {method} matching pursuit, which SAELens does not have: use ItdaSae in Python"
        )
    weights = atoms if method == "nonnegative" else torch.cat([atoms, -atoms])
    config = {
        "architecture": "matching_pursuit",
        "d_in": atoms.shape[1],
        "d_sae": len(weights),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": source.dictionary.is_centered,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "residual_threshold": 0.0,
        "max_iterations": record.settings.l0,
        "stop_on_duplicate_support": False,
        "metadata": {
            "model_name": record.model,
            "hook_name": hook_name(record.site),
            "context_size": record.cut.context + prefix,
            "prepend_bos": bool(prefix),
            "itda_id": record.id,
            "sae_lens_version": "6.0.0",  # version of the file format
        },
    }
    tensors = {"W_dec": weights, "b_dec": source.dictionary.mean}
    (folder / WEIGHTS_FILE).write_bytes(save(tensors))
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def from_external(foreign: ExternalDictionary) -> ItdaSae:
    """Wrap a dictionary in another tool's format as an SAE, without a library."""
    dictionary = Dictionary(foreign.atoms, foreign.sources, foreign.settings, mean=foreign.mean)
    prefix = foreign.special or 0  # unknown if positions, and the context, count special tokens too
    return ItdaSae(dictionary, foreign.site, foreign.model, foreign.context + prefix, bool(prefix))
