"""A dictionary as code for sparse autoencoders has it: encode, decode, `W_enc`, `W_dec`, `b_dec` and `cfg`.

`ItdaSae` serves what takes any SAE (SAELens' evaluations, SAEBench, hooks of one's own), and imports neither. Its codes
are those of the dictionary, signed; dense tensors are made for what asks for them. What there is no encoder of is
filled in so: `W_enc` is `W_dec` turned, which is what the first step of pursuit looks at and not how codes come about,
and the biases are zero.

`write_sae_folder` writes what `sae_lens.SAE.load_from_disk` reads, as SAELens' own matching pursuit. That one never
subtracts, so a dictionary that does has each atom there twice: latent n_atoms + i is minus atom i, and both together
are its coefficient.
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
from itda_core.reports.sae import CONFIG_FILE, WEIGHTS_FILE

_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclass
class SaeConfig:
    """What such code asks an SAE of. It writes into it too, so it is not frozen."""

    d_in: int
    """Width of the activations."""
    d_sae: int
    """Latents: atoms."""
    model_name: str
    """The model's name."""
    hook_name: str
    """TransformerLens' name of the site."""
    hook_layer: int
    """Block index, from 0."""
    context_size: int
    """Tokens in a window, special ones included."""
    k: int
    """Pursuit steps: active latents at most."""
    dtype: str = "float32"
    """Of weights and codes."""
    device: str = "cpu"
    """Where the weights are."""
    hook_head_index: int | None = None
    """Never of one head."""
    prepend_bos: bool = False
    """Whether texts are to begin with a token that says so; as the tokenizer does in building."""
    normalize_activations: str = "none"
    """Activations are taken as they are."""
    apply_b_dec_to_input: bool = False
    """There is no bias."""
    reshape_activations: str = "none"
    """Activations are vectors."""
    seqpos_slice: tuple[int | None, ...] = (None,)
    """Every position."""
    model_from_pretrained_kwargs: dict[str, Any] = field(default_factory=dict)
    """Nothing special in loading the model."""
    dataset_trust_remote_code: bool = False
    """No code of a data set is run."""

    def __post_init__(self) -> None:
        # Newer code asks `cfg.metadata` for where it belongs, and takes what is not there for None.
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
        """What kind of SAE it is."""
        return "itda"

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "architecture": self.architecture()}


class ItdaSae(torch.nn.Module):
    """A dictionary that looks like an SAE. `to` moves it, and `dtype` is that of its weights and codes."""

    def __init__(
        self, dictionary: Dictionary, site: Site, model_name: str, context: int = 128, prepend_bos: bool = False
    ) -> None:
        """Dress a dictionary up.

        Args:
            dictionary: the atoms, and the L0 that it encodes with.
            site: where in the model.
            model_name: what the code that it is for loads the model by.
            context: tokens in a window, special ones included.
            prepend_bos: whether texts are to begin with a token that says so.
        """
        super().__init__()
        self._dictionary = dictionary
        n, width = dictionary.atoms.shape
        self.W_dec = torch.nn.Parameter(dictionary.atoms.clone(), requires_grad=False)
        self.b_dec = torch.nn.Parameter(torch.zeros(width), requires_grad=False)
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
        )

    @classmethod
    def of(cls, record: DictionaryManifest, dictionary: Dictionary, model_name: str | None = None) -> "ItdaSae":
        """A dictionary of a library; `model_name` where the model is to be loaded by another name."""
        context, prefix = record.cut.context, record.prefix or 0
        return cls(dictionary, record.site, model_name or record.model, context + prefix, bool(prefix))

    @property
    def W_enc(self) -> torch.Tensor:
        """[d_in, d_sae]: `W_dec` turned."""
        return self.W_dec.T

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and codes."""
        return self.W_dec.dtype

    def to(self, *args: Any, **kwargs: Any) -> "ItdaSae":
        """Move it, or change its type, as any module."""
        super().to(*args, **kwargs)
        self.cfg.device, self.cfg.dtype = str(self.device), _DTYPES.get(self.dtype, str(self.dtype))
        return self

    def encode_sparse(self, x: torch.Tensor) -> Codes:
        """Sparse codes of x [..., d_in], its leading dimensions flattened into rows. Raises ValueError as encode."""
        return self._dictionary.encode(x.detach().reshape(-1, x.shape[-1]).to(self.device, torch.float32))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Codes of x [..., d_in] as a dense tensor [..., d_sae]: 4 bytes for every atom and activation.

        Raises ValueError for another width, or a value that is not finite.
        """
        codes = self.encode_sparse(x)
        rows = x[..., 0].numel()
        dense = torch.zeros(rows, self.cfg.d_sae, dtype=self.dtype, device=self.device)
        at = (torch.from_numpy(codes.row).to(self.device), torch.from_numpy(codes.atom).to(self.device))
        dense[at] = torch.from_numpy(codes.coefficient).to(self.device, self.dtype)
        return dense.reshape(*x.shape[:-1], self.cfg.d_sae)

    def decode(self, feature_acts: torch.Tensor) -> torch.Tensor:
        """Reconstructions [..., d_in] from codes [..., d_sae]."""
        return feature_acts.to(self.device, self.dtype) @ self.W_dec

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstructions of x [..., d_in]."""
        return self.decode(self.encode(x))


def write_sae_folder(source: Exported, folder: Path, prefix: int) -> None:
    """Write a dictionary as an SAE of SAELens' matching pursuit into a folder that is there.

    Args:
        source: the dictionary.
        folder: where.
        prefix: special tokens that its tokenizer puts before a text.

    Raises UserError for a dictionary that pursues in another way, which SAELens has no word for.
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
        "apply_b_dec_to_input": False,
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
            "sae_lens_version": "6.0.0",  # whose form of this file it is
        },
    }
    tensors = {"W_dec": weights, "b_dec": torch.zeros(atoms.shape[1])}
    (folder / WEIGHTS_FILE).write_bytes(save(tensors))
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def from_foreign(foreign: ExternalDictionary) -> ItdaSae:
    """A dictionary in another tool's format as an SAE, without a library."""
    dictionary = Dictionary(foreign.atoms, foreign.sources, foreign.settings)
    prefix = foreign.special or 0  # not known where positions, and the context, count special tokens too
    return ItdaSae(dictionary, foreign.site, foreign.model, foreign.context + prefix, bool(prefix))
