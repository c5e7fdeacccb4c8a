"""Build a dictionary from activations in one call."""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from itda_core.common.arguments import pairs
from itda_core.common.errors import MeanWarning
from itda_core.common.settings import Center, DictionarySettings, ErrorUnit, Init, Method, Recipe, Scan
from itda_core.dictionary.builder import DictionaryBuilder
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.mean import MeanSums, repeatable
from itda_core.dictionary.norms import NormLimit, limited
from itda_core.dictionary.sizing import find_threshold


def build_dictionary(
    batches: Iterable[tuple[Any, Any]],
    l0: int = 40,
    threshold: float = 0.3,
    error: ErrorUnit = "relative",
    scan: Scan = "sequential",
    init: Init = "empty",
    max_atoms: int | None = None,
    method: Method = "matching",
    recipe: Recipe = "published",
    center: Center = "none",
    n_atoms: int | None = None,
    max_norm: float | None = None,
) -> Dictionary:
    """Build a dictionary from activations, greedily or by another recipe.

    The greedy build is the paper's Algorithm 1.

    Args:
        batches: pairs of activations [n, d_model] and sources [n, 2] integers: document, position; tensors, arrays or
            lists.
        l0: pursuit steps for one activation.
        threshold: the error above which an activation is admitted.
        error: its unit: "relative", "squared" or "cosine"; see `DictionarySettings`.
        scan: "sequential" gives the same dictionary for any batch size; "batch" is the published behaviour.
        init: "empty", or "frequent", the published start, which needs scan="batch".
        max_atoms: number of atoms at which admission stops.
        method: the pursuit method; see `DictionarySettings`.
        recipe: the selection of the atoms; see `DictionarySettings`.
        center: "mean" subtracts the mean of all activations first.
        n_atoms: number of atoms, within 5 %, in place of a threshold.
        max_norm: multiple of the median norm over which activations are left out.

    For a mean, a number of atoms or a largest norm the batches are read several times; those of a generator are stored
    in a temporary file meanwhile.

    Raises:
        ValueError: batches that are no pairs, or differ from pass to pass; init="frequent" with a sequential scan, or
            n_atoms without one; activations of a wrong shape, or not real and finite;
            sources that are not integers of at least 0, one pair for each activation.
        UserError: a setting out of range, or no activations at all.

    Warns with MeanWarning if much of the activations' energy is in their mean and it is not subtracted, or in one
    dimension.
    """
    settings = DictionarySettings(
        l0=l0,
        threshold=threshold,
        error=error,
        scan=scan,
        init=init,
        max_atoms=max_atoms,
        method=method,
        recipe=recipe,
        center=center,
        n_atoms=n_atoms,
        max_norm=max_norm,
    )
    mean, is_replayed = None, center == "mean" or n_atoms is not None or max_norm is not None
    replay = repeatable(batches) if is_replayed else lambda: pairs(batches)
    if is_replayed:
        settings.check_scan()
    if max_norm is not None:
        limit = NormLimit(max_norm)
        for activations, _ in replay():
            limit.add(activations)
        replay = limited(replay, limit.largest())
    if center == "mean":
        sums = MeanSums()
        for activations, _ in replay():
            sums.add(activations)
        mean = sums.mean()
    if n_atoms is not None:
        settings = replace(settings, threshold=find_threshold(settings, replay, mean), n_atoms=None)
    builder = DictionaryBuilder(settings, mean)
    for activations, sources in replay():
        builder.add(activations, sources)
    dictionary = builder.finish()
    if note := builder.note():
        warnings.warn(note, MeanWarning, stacklevel=2)
    return dictionary
