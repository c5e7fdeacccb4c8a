"""Benchmark of recipes for dictionaries: `itda bench recipes`.

A recipe is a selection of the activations that become atoms, with their mean taken out first or not, and a way to
encode. The models are ones that no recipe was chosen on.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, cast

import torch

from itda_core.benchmarks.machine import timed
from itda_core.benchmarks.models import model_place
from itda_core.benchmarks.recipes.results import (
    CENTRED,
    PUBLISHED,
    REFITTED,
    SAE,
    RecipeResult,
    RecipeRow,
    RecipesBench,
    RecipesReport,
)
from itda_core.benchmarks.recipes.rows import RecipesRun
from itda_core.benchmarks.sae.contestant import Judge, first_reach, train_contestant
from itda_core.benchmarks.sae.results import Contestant, Reach
from itda_core.capture.local import Capture
from itda_core.common.errors import MeanWarning, UserError
from itda_core.common.settings import Recipe
from itda_core.common.types import Site
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import first_captured, is_held_out, make_windows
from itda_core.dictionary.build import build_dictionary
from itda_core.dictionary.dictionary import Dictionary
from itda_core.dictionary.energy_sums import EnergySums
from itda_core.evaluation.coders import Coder, DictionaryCoder
from itda_core.evaluation.metrics import HeldOut, Measurement, Setting, measure_points, read_held_out
from itda_core.evaluation.sae.saelens import require_saelens
from itda_core.models.model import load_model
from itda_core.reports.quality import Measured, Point, paired_differences

_LOWERED = 0.98  # factor of a threshold that gives too few atoms


class _Site(NamedTuple):
    """Activations of a site."""

    x: torch.Tensor
    """[n, d_model] activations to build from."""
    sources: torch.Tensor
    """[n, 2] their sources."""
    held_out: list[HeldOut]
    """Batches to measure on."""
    mean_energy: float
    """Share of the energy that is in the mean vector."""


class _Built(NamedTuple):
    """Dictionaries of one selection, with the mean taken out or not."""

    draws: list[Dictionary]
    """One for each draw."""
    threshold: float
    """Threshold of its greedy build."""
    seconds: float
    """Seconds of the first build."""


def bench_recipes(
    corpus: Corpus, settings: RecipesBench, say: Callable[[str], None], kept: Path | None = None
) -> RecipesReport:
    """Build by every recipe at equal numbers of atoms and L0, and evaluate on held-out tokens.

    Args:
        corpus: the corpus that the models read.
        settings: models, sizes and L0.
        say: called with a progress message.
        kept: JSON file that gets the report after each row; rows that it has already are not measured again.

    Raises:
        UserError: a model or SAELens is not available, a model has too few distinct activations for so many atoms, or
            `kept` is of another corpus or other settings.
        DamagedError: `kept` is not a report.
    """
    if settings.saes:
        require_saelens()
    run = RecipesRun(corpus.id, settings, kept)
    for name, sites in groupby(settings.sites, lambda site: site[0]):
        layers = [layer for _, layer in sites if run.missing(name, layer)]
        for layer, site in _read(corpus, name, layers, settings, say) if layers else ():
            run.held_out[name] = sum(len(each.activations) for each in site.held_out)
            for atoms, l0 in run.missing(name, layer):
                say(f"{name}, layer {layer}: {atoms:,} atoms, L0 {l0} ({run.seconds():.0f} s)")
                built = _build(site, atoms, l0, settings)
                trained = _train(site, atoms, l0, settings, say) if (atoms, l0) in settings.saes else None
                run.add(_measure(name, layer, site, built, l0, settings.names, trained))
    return run.report()


def _read(
    corpus: Corpus, name: str, layers: list[int], settings: RecipesBench, say: Callable[[str], None]
) -> Iterator[tuple[int, _Site]]:
    """Yield the layers of a model with their activations; the texts are read once for all layers."""
    say(f"capturing {settings.tokens:,} tokens of {name}, layers {', '.join(map(str, layers))}")
    model, sites = load_model(model_place(name), device="cpu"), [Site(layer) for layer in layers]
    windows = list(make_windows(corpus.documents(), model.tokenizer, corpus.cut, settings.tokens))
    used = [window for window in windows if not is_held_out(window.document)]
    held = list(first_captured((window for window in windows if is_held_out(window.document)), settings.measured))
    batches = list(Capture(model, sites, lambda: used, settings.batch_windows))
    sources = torch.cat([batch.sources for batch in batches])
    for site in sites:
        x = torch.cat([batch.activations.pop(site) for batch in batches])
        energy = EnergySums()
        energy.add(x)
        mean_energy = 0.0 if energy.spread is None else energy.spread.mean
        measured_on = list(read_held_out(model, site, held, settings.batch_windows))
        yield site.layer, _Site(x, sources, measured_on, mean_energy)


def _build(site: _Site, atoms: int, l0: int, settings: RecipesBench) -> dict[str, _Built]:
    """Build the dictionaries of each selection, named without its way to encode, and time the first of each.

    Random selection depends on the row numbers, so that leaving out the first rows gives another draw.
    """
    built: dict[str, _Built] = {}
    centers = {"mean" if CENTRED in name else "none" for name in settings.names}
    thresholds = {center: _threshold(site, atoms, l0, center) for center in sorted(centers)}
    for name in dict.fromkeys(name.removesuffix(REFITTED) for name in settings.names):
        recipe, center = cast(Recipe, name.removesuffix(CENTRED)), "mean" if name.endswith(CENTRED) else "none"
        threshold = thresholds[center]
        options: dict[str, Any] = {
            "l0": l0,
            "center": center,
            "recipe": recipe,
            "threshold": threshold,
            "max_atoms": atoms,
        }
        draws = range(1 if recipe == "published" else settings.draws)
        parts = [(site.x[draw:], site.sources[draw:]) for draw in draws]
        seconds, first = timed(
            lambda parts=parts, options=options: _quietly(parts[:1], **options), clock=time.process_time
        )
        rest = [_quietly([part], **options) for part in parts[1:]]
        built[name] = _Built([first, *rest], threshold, seconds)
    return built


def _threshold(site: _Site, atoms: int, l0: int, center: str) -> float:
    """Return a threshold that gives `atoms` atoms or a few more, of which the first are then taken."""
    found = _quietly([(site.x, site.sources)], l0=l0, center=center, n_atoms=atoms)
    threshold, n = found.settings.threshold, len(found)
    while n < atoms:
        threshold *= _LOWERED
        n = len(_quietly([(site.x, site.sources)], l0=l0, center=center, threshold=threshold, max_atoms=atoms))
    return threshold


def _quietly(batches: list[tuple[torch.Tensor, torch.Tensor]], **options: Any) -> Dictionary:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MeanWarning)  # the mean's share is in the report
        return build_dictionary(batches, **options)


def _train(
    site: _Site, width: int, l0: int, settings: RecipesBench, say: Callable[[str], None]
) -> tuple[Contestant, Coder]:
    """Train a TopK SAE on the activations of a site."""
    return train_contestant(
        site.x, "topk", settings.sae_seconds, width, settings.sae(l0), Judge(site.held_out), say, time.process_time
    )


def _measure(
    model: str,
    layer: int,
    site: _Site,
    built: Mapping[str, _Built],
    l0: int,
    names: tuple[str, ...],
    trained: tuple[Contestant, Coder] | None,
) -> RecipeRow:
    coders: dict[str, list[Setting]] = {}
    costs: dict[str, tuple[float | None, float]] = {}
    for name in names:
        method = "refitted" if name.endswith(REFITTED) else "matching"
        own = built[name.removesuffix(REFITTED)]
        coders[name] = [Setting(l0, DictionaryCoder(each, l0, method)) for each in own.draws]
        costs[name] = own.threshold, own.seconds
    if trained is not None:
        coders[SAE] = [Setting(l0, trained[1])]
        costs[SAE] = None, trained[0].curve[-1].seconds
    measurement = measure_points([each for own in coders.values() for each in own], site.held_out)
    if measurement.ce_original is None or measurement.ce_zero is None:
        raise UserError("the held-out tokens have no predictions: ask for more tokens")
    points = iter(measurement.points)
    found = {name: [next(points) for _ in own] for name, own in coders.items()}
    (published,) = found[PUBLISHED]
    x = torch.cat([each.activations for each in site.held_out])
    recipes = {
        name: RecipeResult(
            _mean([_left(point.measured["variance_explained"]) for point in own]),
            _mean([point.measured["ce_loss_score"] for point in own]),
            _mean([_ahead(point, published, measurement) for point in own]),
            *costs[name],
            timed(lambda coder=coders[name][0].coder: coder.encode(x), 3, time.process_time)[0],
        )
        for name, own in found.items()
    }
    atoms = len(built[PUBLISHED].draws[0])
    ce = measurement.ce_original, measurement.ce_zero
    row = RecipeRow(model, layer, atoms, l0, *ce, site.mean_energy, recipes)
    return row if trained is None else replace(row, sae=trained[0], reached=_reached(row, trained[0], len(site.x)))


def _reached(row: RecipeRow, sae: Contestant, rows: int) -> dict[str, Reach]:
    """Find where an SAE first has the score of each recipe, built from so many rows."""
    reached = {}
    for name, found in row.recipes.items():
        if name != SAE:
            tokens, seconds, is_there = first_reach(sae.curve, found.ce_loss_score[0], row.l0)
            ratios = found.seconds / seconds, rows / tokens
            reached[name] = Reach(is_there, tokens, seconds, *ratios, None if is_there else "upper")
    return reached


def _ahead(point: Point, other: Point, measurement: Measurement) -> Measured:
    return paired_differences(point, measurement, other, measurement)["ce_loss_score"]


def _left(explained: Measured) -> Measured:
    return Measured(1 - explained.value, 1 - explained.high, 1 - explained.low)


def _mean(measured: list[Measured]) -> tuple[float, float, float]:
    value, low, high = map(mean, zip(*measured, strict=True))
    return value, low, high
