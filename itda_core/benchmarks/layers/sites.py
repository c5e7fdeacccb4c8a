"""What `itda bench layers` compares: activations of the same tokens in every model, and their dictionaries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from itda_core.capture.layers import LayerActivations, capture_layers
from itda_core.common.errors import UserError
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import make_windows
from itda_core.dictionary.builder import build_dictionary
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.errors import relative_errors
from itda_core.models.model import load_model
from itda_core.similarity.overlap import rows_of, union_keys

_LEAST_THRESHOLD, _MOST_THRESHOLD = 0.01, 0.9
_HALVINGS = 12
_TOLERANCE = 0.05  # small sets come in steps


@dataclass(frozen=True)
class SiteDictionary:
    """The dictionary of one site and what it makes of the tokens that it was built from."""

    dictionary: Dictionary
    """Atoms and sources."""
    rows: torch.Tensor
    """[n_atoms] int64: which tokens the atoms are."""


def capture_models(
    folders: Mapping[str, Path], corpus: Corpus, tokens: int, batch_windows: int, say: Callable[[str], None]
) -> dict[str, LayerActivations]:
    """Activations of all layers of models, on the first `tokens` tokens of a corpus.

    Raises:
        UserError: the models' tokenizers differ, so that a row would not be the same token in all; the corpus has fewer
            tokens; or a model cannot be loaded.
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
    """The dictionary of each layer, by the sequential scan.

    Raises UserError where no activation is over the threshold.
    """
    found = []
    for layer, x in enumerate(model.layers):
        dictionary = build_dictionary([(x, model.sources)], l0, threshold)
        if len(dictionary) < 2:
            raise UserError(f"layer {layer} has {len(dictionary)} atoms at threshold {threshold:g}: lower it")
        found.append(SiteDictionary(dictionary, torch.from_numpy(rows_of(dictionary.sources, model.sources))))
    return found


def equal_threshold(model: LayerActivations, l0: int, sources: int) -> float:
    """The threshold at which the layers of a model together have so many distinct sources, to 1 % where it can be.

    Models of different widths admit very different numbers of atoms at one threshold, and what two sets share depends
    on their sizes first of all.

    Raises UserError where no threshold gives a layer two atoms or so many sources.
    """
    low, high = _LEAST_THRESHOLD, _MOST_THRESHOLD  # more sources than wanted at the lower
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
    """[n] relative errors of activations x [n, d_model] by their own site's dictionary."""
    copy = dictionary.crop(len(dictionary))  # a dictionary keeps what it encodes with, far more than its atoms
    return relative_errors(x, copy.decode(copy.encode(x), len(x)))
