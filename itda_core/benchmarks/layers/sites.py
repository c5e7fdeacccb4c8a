"""Sites that `itda bench layers` compares.

They are activations of the same tokens in every model, with their dictionaries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from itda_core.capture.layers import LayerActivations, capture_layers
from itda_core.common.errors import UserError
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import make_windows
from itda_core.dictionary.build import build_dictionary
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import relative_errors
from itda_core.models.model import load_model
from itda_core.similarity.overlap import rows_of, union_keys

_LEAST_THRESHOLD, _MOST_THRESHOLD = 0.01, 0.9
_HALVINGS = 12
_TOLERANCE = 0.05  # small sets change in steps


@dataclass(frozen=True)
class SiteDictionary:
    """Dictionary of one site, with the rows of its atoms."""

    dictionary: Dictionary
    """Atoms and sources."""
    rows: torch.Tensor
    """[n_atoms] int64: rows of the tokens that are the atoms."""


def capture_models(
    folders: Mapping[str, Path], corpus: Corpus, tokens: int, batch_windows: int, say: Callable[[str], None]
) -> dict[str, LayerActivations]:
    """Capture the activations of all layers of models.

    The tokens are the first `tokens` of a corpus.

    Raises:
        UserError: the models' tokenizers differ, so that a row would not be the same token in all; the corpus has
            fewer tokens; or a model cannot be loaded.
    """
    captured: dict[str, LayerActivations] = {}
    tokenizers = set()
    for name, folder in folders.items():
        say(f"capturing {tokens:,} tokens of {name}, all layers")
        model = load_model(str(folder), device="cpu")
        tokenizers.add(model.tokenizer_sha256())
        if len(tokenizers) > 1:
            raise UserError(f"{name} has another tokenizer than the models before it: compare models that share one")
        windows = list(make_windows(corpus.documents(), model.tokenizer, corpus.cut, tokens))
        found = sum(len(window.captured) for window in windows)
        if found < tokens:
            raise UserError(f"{corpus.id} has {found:,} tokens, {tokens:,} were asked: name a larger corpus")
        captured[name] = capture_layers(model, windows, batch_windows=batch_windows)
    return captured


def build_sites(model: LayerActivations, l0: int, threshold: float) -> list[SiteDictionary]:
    """Build the dictionary of each layer, by the sequential scan.

    Raises UserError if a layer's dictionary has fewer than two atoms.
    """
    found = []
    for layer, x in enumerate(model.layers):
        dictionary = build_dictionary([(x, model.sources)], l0, threshold)
        if len(dictionary) < 2:
            raise UserError(f"layer {layer} has {len(dictionary)} atoms at threshold {threshold:g}: lower it")
        found.append(SiteDictionary(dictionary, torch.from_numpy(rows_of(dictionary.sources, model.sources))))
    return found


def equal_threshold(model: LayerActivations, l0: int, sources: int) -> float:
    """Find the threshold at which a model has a given number of distinct sources.

    The sources are counted over all layers, and the number is met to 1 % if possible. Models of different activation
    dimensions admit very different numbers of atoms at one threshold, and the overlap of two sets depends primarily
    on their sizes.

    Raises UserError if no threshold gives every layer two atoms and the model that number of sources.
    """
    low, high = _LEAST_THRESHOLD, _MOST_THRESHOLD  # the lower threshold gives more sources than wanted
    tried: dict[float, int] = {}
    for _ in range(_HALVINGS):
        threshold = (low * high) ** 0.5
        tried[threshold] = len(union_keys(site.dictionary.sources for site in build_sites(model, l0, threshold)))
        if abs(tried[threshold] - sources) <= 0.01 * sources:
            break
        low, high = (threshold, high) if tried[threshold] > sources else (low, threshold)
    best = min(tried, key=lambda threshold: abs(tried[threshold] - sources))
    if abs(tried[best] - sources) > _TOLERANCE * sources:
        raise UserError(f"no threshold gives a model {sources:,} sources, the nearest {tried[best]:,}: ask for others")
    return best


def own_errors(x: torch.Tensor, dictionary: Dictionary) -> torch.Tensor:
    """Return the relative errors of activations by their own site's dictionary.

    Shape [n], for activations x [n, d_model].
    """
    copy = dictionary.crop(len(dictionary))  # the copy takes the encoding buffers, far larger than the atoms
    return relative_errors(x, copy.decode(copy.encode(x), len(x)))
