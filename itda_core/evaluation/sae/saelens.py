"""Interface to SAELens: create, train, save and load SAEs.

This is the only module that imports SAELens.

`SAETrainer` trains; its `step` is the method that SAELens' own trainer of several SAEs uses, so that its optimiser,
schedule, gradient clipping and dead-latent count apply. Importing SAELens takes seconds, and no page does it.
"""

import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.hub_errors import answer_of_hub
from itda_core.common.text import one_line
from itda_core.evaluation.sae.saelens_config import check_read, check_written

_APPLIED = ("none", "layer_norm", "constant_norm_rescale")
"""Activation normalisations that SAELens applies itself wherever an SAE is used. Any other is for training only: its
scale has to be folded into the weights, after which `normalize_activations` is `none`."""
_INSTALL = "SAEs need SAELens: pip install 'itda-explorer[sae]', or pip install -e '.[sae]' in a clone"


def require_saelens() -> None:
    """Raise UserError with installation instructions if SAELens is not installed."""
    if importlib.util.find_spec("sae_lens") is None:
        raise UserError(_INSTALL)


def saelens_version() -> str:
    """Return the version of the installed SAELens."""
    return importlib.metadata.version("sae-lens")


def new_sae(kind: str, d_model: int, width: int, k: int, l1: float, metadata: dict[str, str]) -> Any:
    """Create an untrained SAE, with weights initialised from torch's seed.

    Args:
        kind: `topk`, or `standard`, which is ReLU with an L1 penalty.
        d_model: activation dimension.
        width: number of latents.
        k: active latents per token, for a TopK SAE.
        l1: weight of the penalty, for a standard SAE.
        metadata: model and hook names for its `cfg.json`.
    """
    require_saelens()
    from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    # Inputs are scaled to a mean norm of √d, as in Anthropic's April 2024 update; the scale is folded into the
    # weights.
    shared: dict[str, Any] = {
        "d_in": d_model,
        "d_sae": width,
        "normalize_activations": "expected_average_only_in",
        "metadata": SAEMetadata(**metadata),
    }
    if kind == "topk":
        return TopKTrainingSAE(TopKTrainingSAEConfig(k=k, **shared))
    return StandardTrainingSAE(StandardTrainingSAEConfig(l1_coefficient=l1, **shared))


def new_trainer(
    sae: Any, scale: float, *, samples: int, batch: int, lr: float, warm_up: int, decay: int, dead_after: int
) -> Any:
    """Create SAELens' trainer of an SAE.

    Args:
        sae: from `new_sae`.
        scale: factor applied to the activations.
        samples: total number of training activations.
        batch: activations in a step.
        lr: learning rate.
        warm_up, decay: steps over which it rises from 0, and over which it falls to 0 at the end.
        dead_after: steps without firing after which a latent counts as dead and gets the auxiliary loss (TopK).
    """
    from sae_lens import LoggingConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    config = SAETrainerConfig(
        total_training_samples=samples,
        train_batch_size_samples=batch,
        lr=lr,
        lr_end=lr,
        lr_warm_up_steps=warm_up,
        lr_decay_steps=decay,
        dead_feature_window=dead_after,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer: Any = SAETrainer(config, sae, data_provider=iter(()))  # activations are passed to each step
    trainer.activation_scaler.scaling_factor = scale
    return trainer


def trained(trainer: Any) -> Any:
    """Return a copy of the SAE in its current state, for unscaled activations.

    Its input scaling and decoder norms are folded into the weights.
    """
    from sae_lens import SAE

    sae = trainer.sae
    weights = {name: tensor.detach().clone() for name, tensor in sae.state_dict().items()}
    sae.process_state_dict_for_saving_inference(weights)
    copy: Any = SAE.from_dict(sae.cfg.get_inference_sae_cfg_dict())
    copy.load_state_dict(weights)
    copy.fold_activation_norm_scaling_factor(trainer.activation_scaler.scaling_factor)
    return copy.eval()


def save_sae(sae: Any, folder: Path) -> None:
    """Write SAELens' two files of an SAE."""
    sae.save_model(folder)


def load_sae(folder: Path) -> Any:
    """Read an SAE written by `save_sae` or SAELens, onto the CPU in float32.

    Raises:
        UserError: SAELens is not installed.
        DamagedError: the files are not an SAE's, or are of one that cannot be used without changes.
    """
    require_saelens()
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import sae_lens_disk_loader

    reader = _Reader(sae_lens_disk_loader)
    try:
        with torch.device("cpu"):
            sae = SAE.load_from_disk(folder, device="cpu", dtype="float32", converter=reader)
        reader.check(sae)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DamagedError(f"{folder.name} cannot be read as an SAE: {one_line(_first_line(error))}") from error
    _check(sae, folder.name)
    return sae


def fetch_sae(release: str, sae_id: str) -> Any:
    """Fetch a pretrained SAE by SAELens' release and id.

    It comes from the Hub or its cache, and is loaded onto the CPU in float32. Pickled weights are read by
    `torch.load`, whose default reads tensors only.

    Raises:
        UserError: SAELens is not installed, it knows no such release or id, the Hub does not provide it, or the files
            are not an SAE that can be used without changes.
    """
    require_saelens()
    from sae_lens import SAE
    from sae_lens.loading.pretrained_sae_loaders import NAMED_PRETRAINED_SAE_LOADERS, get_conversion_loader_name

    try:
        reader = _Reader(NAMED_PRETRAINED_SAE_LOADERS[get_conversion_loader_name(release)])
        with warnings.catch_warnings():
            # Warnings about a repository addressed by its own name, and about a scale that is not stored:
            # `_check` rejects the latter.
            warnings.simplefilter("ignore", UserWarning)
            sae = SAE.from_pretrained(release, sae_id, device="cpu", dtype="float32", converter=reader)
        reader.check(sae)
    except Exception as error:  # untrusted files can raise any exception, pickles in particular
        raise UserError(_refusal(release, sae_id, error)) from error
    _check(sae, f"{release} {sae_id}")
    return sae


def official_name(model: str) -> str:
    """Return TransformerLens' own name of a model from a name or an alias.

    Unknown names are returned unchanged.
    """
    from transformer_lens.loading_from_pretrained import get_official_model_name

    try:
        return get_official_model_name(model)
    except ValueError:
        return model


class _Reader:
    """SAELens file reader that checks the configuration before and after conversion."""

    def __init__(self, read: Callable[..., tuple[dict[str, Any], Any, Any] | tuple[dict[str, Any], Any]]) -> None:
        self._read = read
        self._config: dict[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Read the files, as SAELens calls it.

        Raises ValueError for a configuration that would be computed differently than it states.
        """
        found = self._read(*args, **kwargs)
        check_written(found[0])
        self._config = dict(found[0])
        return found

    def check(self, sae: Any) -> None:
        """Check the SAE that was read.

        Raises ValueError for one that does not match its configuration.
        """
        check_read(self._config, sae.cfg.architecture(), getattr(sae.cfg, "k", None))


def _check(sae: Any, name: str) -> None:
    """Reject an SAE that would run but give wrong codes, or none.

    Raises DamagedError.
    """
    k = sae.cfg.k if sae.cfg.architecture() == "topk" else 1
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= sae.cfg.d_sae:
        raise DamagedError(f"{name} has {str(k)[:40]!r} as the number of active latents: name another SAE")
    if sae.cfg.normalize_activations not in _APPLIED:
        raise DamagedError(
            f"{name} is for activations that are scaled first ({str(sae.cfg.normalize_activations)[:40]}), and does "
            "not say by what: name another SAE"
        )
    if not all(torch.isfinite(weight).all() for weight in sae.state_dict().values()):
        raise DamagedError(f"{name} has a weight that is not finite: name another SAE")


def _refusal(release: str, sae_id: str, error: BaseException) -> str:
    """Return why a pretrained SAE could not be fetched, in one line."""
    named = f"{release} {sae_id}"
    if isinstance(error, GatedRepoError):
        return f"{release} is gated: accept its terms on the Hub and set HF_TOKEN to that account's token"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no release {release!r}, and no such repository on the Hub: check --release"
    if answer := answer_of_hub(release, error):
        return answer
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{release} has no SAE {sae_id!r}: check --sae-id"
    if isinstance(error, OSError | httpx.HTTPError):
        return f"the Hub cannot be reached, and {named} is not in the cache: check the network"
    return f"{named} cannot be loaded: {one_line(_first_line(error))}"


def _first_line(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
