"""Check that an SAE belongs to a dictionary's site.

SAELens identifies sites by TransformerLens' names of models and hooks.
"""

from typing import Any

from itda_core.common.errors import UserError
from itda_core.common.types import Site
from itda_core.evaluation.sae.saelens import official_name
from itda_core.evaluation.sae.saelens_config import ARCHITECTURES
from itda_core.library.manifest import DictionaryManifest

_HOOKS = {"resid": "hook_resid_post", "mlp": "hook_mlp_out", "attn": "hook_attn_out"}


def hook_name(site: Site) -> str:
    """Return TransformerLens' name of a site: `blocks.3.hook_resid_post`.

    `mlp` and `attn` are the contributions of a block's MLP and attention to the residual stream. TransformerLens'
    hooks of these names are the modules' outputs, which is the same except for families that normalise them first,
    such as Gemma 2.
    """
    return f"blocks.{site.layer}.{_HOOKS[site.hook]}"


def check_site(sae: Any, record: DictionaryManifest, name: str) -> None:
    """Reject an SAE of another site, or with codes that are not comparable.

    Codes must be measurable in the same way as a dictionary's. Metadata missing from the SAE's configuration is not
    checked.

    Args:
        sae: an SAE of SAELens.
        record: the dictionary's manifest.
        name: the SAE's name, for the message.

    Raises:
        UserError: it is of another activation dimension, model or site, or of an unsupported kind.
    """
    config = sae.cfg
    about = config.metadata
    if config.architecture() not in ARCHITECTURES or config.reshape_activations != "none":
        kind = config.architecture() if config.reshape_activations == "none" else "SAE over attention heads"
        raise UserError(f"{name} is a {kind}: those read here are {', '.join(ARCHITECTURES)}, of whole activations")
    if config.d_in != record.d_model:
        raise UserError(f"{name} is for activations of width {config.d_in}, those of {record.id} have {record.d_model}")
    if about.model_from_pretrained_kwargs:
        raise UserError(
            f"{name} was trained on a model whose weights were changed first "
            f"({', '.join(map(str, about.model_from_pretrained_kwargs))}): its activations are not those of {record.id}"
        )
    if about.model_name and _plain(about.model_name) != _plain(record.model):
        raise UserError(f"{name} is of the model {about.model_name}, {record.id} of {record.model}")
    if about.hook_name and about.hook_name not in _names(record.site):
        raise UserError(f"{name} is of {about.hook_name}, {record.id} of {hook_name(record.site)}")


def _names(site: Site) -> tuple[str, ...]:
    """Return TransformerLens' names of a site.

    A block's output is also the next block's input.
    """
    return (hook_name(site), *([f"blocks.{site.layer + 1}.hook_resid_pre"] if site.hook == "resid" else []))


def _plain(model: str) -> str:
    """Return a model's name without its owner, in lower case, aliases resolved."""
    return official_name(model).rpartition("/")[2].lower()
