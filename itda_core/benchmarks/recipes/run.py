"""Benchmark of atom-selection recipes: `itda bench recipes`.

The models are ones that no recipe was chosen on.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import torch

from itda_core.benchmarks.machine import timed
from itda_core.capture.local import Capture
from itda_core.common.errors import UserError
from itda_core.common.settings import RECIPES, Recipe
from itda_core.common.types import Site
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import is_held_out, make_windows
from itda_core.dictionary.build import build_dictionary
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.coders import DictionaryCoder
from itda_core.evaluation.metrics import HeldOut, Measurement, Setting, measure_points, read_held_out
from itda_core.models.bundled import model_folder
from itda_core.models.model import load_model
from itda_core.reports.quality import Measured, Point, paired_differences

REFITTED = ", refitted"
"""Suffix of a recipe's name for encoding by `refitted` instead of matching pursuit."""
_SEARCHES = 12
_CLOSE = 0.05  # tolerance for the number of atoms
_GROWTH = 0.5  # the number of atoms grows about as the inverse square of the threshold


@dataclass(frozen=True)
class RecipesBench:
    """Settings of `itda bench recipes`."""

    tokens: int = 24_000
    """Number of tokens of the corpus that each model reads; every tenth document is held out for evaluation."""
    sites: tuple[tuple[str, int], ...] = (("docs-b", 2), ("docs-b", 4), ("docs-c", 3), ("code-a", 3), ("seeds/s3", 4))
    """Models and layers; the pruned recipe was chosen on docs-a."""
    sizes: tuple[tuple[int, int], ...] = ((300, 20), (1_000, 10), (1_000, 20), (1_000, 40))
    """Numbers of atoms and pursuit steps."""
    draws: int = 2
    """Number of repetitions of recipes with random selection; the mean is reported."""
    batch_windows: int = 16
    """Windows in a forward pass."""

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UserError(f"draws are {self.draws}: ask for one or more")
        if 2 * max(atoms for atoms, _ in self.sizes) > self.tokens:
            raise UserError(f"{self.tokens:,} tokens are too few for dictionaries of such sizes: ask for more")


@dataclass(frozen=True)
class RecipeResult:
    """Results of one recipe at one size and L0, on one site."""

    unexplained: tuple[float, float, float]
    """Fraction of unexplained variance of the held-out tokens, with its 95 % interval over documents; mean over the
    draws."""
    ce_loss_score: tuple[float, float, float]
    """CE loss score, likewise."""
    ce_lead: tuple[float, float, float]
    """Difference of that score to the published recipe's, encoded by matching pursuit, with its 95 % interval, both
    resampled over the same documents; mean over the draws."""
    seconds: float
    """Seconds of one build."""
    encode_seconds: float
    """Seconds of encoding the held-out tokens by the dictionary of the first draw: median of three."""


@dataclass(frozen=True)
class RecipeRow:
    """Results of all recipes at one size and L0, on one site."""

    model: str
    """Name of the model."""
    layer: int
    """The layer."""
    atoms: int
    """Number of atoms of each dictionary."""
    l0: int
    """Pursuit steps, for building and evaluation."""
    threshold: float
    """Relative error threshold at which the published recipe has this number of atoms."""
    recipes: dict[str, RecipeResult]
    """By name, encoded by matching pursuit; with the suffix REFITTED, the same dictionary with refitted
    coefficients."""


@dataclass(frozen=True)
class Lead:
    """Advantage of one recipe over another, over all rows."""

    unexplained: float
    """Mean relative reduction of the unexplained variance."""
    unexplained_better: int
    """Number of rows in which it leaves less variance unexplained."""
    ce_loss_score: float
    """Mean difference of the CE loss scores."""
    ce_better: int
    """Number of rows in which it has the higher score."""


@dataclass(frozen=True)
class RecipesReport:
    """Complete results of `itda bench recipes`."""

    corpus: str
    """Id of the corpus."""
    settings: RecipesBench
    """Settings of the run."""
    held_out: dict[str, int]
    """Number of evaluation tokens, by model."""
    rows: list[RecipeRow]
    """Results by site, atoms and L0."""
    ahead_of: dict[str, Lead]
    """Advantage of `pruned` over each recipe, both encoded by matching pursuit."""
    refitted_ahead_of: dict[str, Lead]
    """Advantage of `pruned, refitted` over each recipe, by name as in the rows."""
    surely: dict[str, tuple[int, int]]
    """Number of rows in which the complete interval of `ce_lead` is above 0, and in which it is below, by recipe."""
    build_ratio: float
    """Build time of the pruned recipe over that of the published one: sums over all rows."""
    refit_ratio: float
    """Encoding time with refitted coefficients over that by matching pursuit, for the published dictionaries:
    likewise."""
    seconds: float
    """Duration of the complete run."""

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)


def bench_recipes(corpus: Corpus, settings: RecipesBench, say: Callable[[str], None]) -> RecipesReport:
    """Build by every recipe at equal numbers of atoms and L0, and evaluate.

    The evaluation is on held-out tokens.

    Args:
        corpus: the corpus that the models read.
        settings: models, sizes and L0.
        say: called with a progress message.

    Raises:
        UserError: a model is not available, or has too few distinct activations for that number of atoms.
    """
    began = time.perf_counter()
    rows: list[RecipeRow] = []
    held_out: dict[str, int] = {}
    for name, layer in settings.sites:
        say(f"capturing {settings.tokens:,} tokens of {name}, layer {layer}")
        x, sources, measured_on = _read(corpus, name, layer, settings)
        held_out[name] = sum(len(each.activations) for each in measured_on)
        for atoms, l0 in settings.sizes:
            say(f"{name}, layer {layer}: {atoms:,} atoms, L0 {l0}")
            threshold = _threshold(x, sources, atoms, l0)
            built, seconds = _build(x, sources, l0, threshold, settings.draws)
            rows.append(
                RecipeRow(
                    name, layer, len(built["published"][0]), l0, threshold, _measure(built, seconds, l0, measured_on)
                )
            )
    spent = {name: sum(row.recipes[name].seconds for row in rows) for name in ("published", "pruned")}
    encoding = {name: sum(row.recipes[name].encode_seconds for row in rows) for name in rows[0].recipes}
    return RecipesReport(
        corpus.id,
        settings,
        held_out,
        rows,
        {name: _lead(rows, "pruned", name) for name in ("published", "random")},
        {
            name: _lead(rows, "pruned" + REFITTED, name)
            for name in ("published", "random", "published" + REFITTED, "random" + REFITTED)
        },
        {name: _surely(rows, name) for name in rows[0].recipes if name != "published"},
        spent["pruned"] / spent["published"],
        encoding["published" + REFITTED] / encoding["published"],
        time.perf_counter() - began,
    )


def _read(
    corpus: Corpus, name: str, layer: int, settings: RecipesBench
) -> tuple[torch.Tensor, torch.Tensor, list[HeldOut]]:
    """Capture activations to build from, their sources, and evaluation batches.

    Activations are [n, d_model], sources [n, 2].
    """
    model, site = load_model(str(model_folder(name)), device="cpu"), Site(layer)
    windows = list(make_windows(corpus.documents(), model.tokenizer, corpus.cut, settings.tokens))
    used = [window for window in windows if not is_held_out(window.document)]
    batches = list(Capture(model, [site], lambda: used, settings.batch_windows))
    held = [window for window in windows if is_held_out(window.document)]
    return (
        torch.cat([batch.activations[site] for batch in batches]),
        torch.cat([batch.sources for batch in batches]),
        list(read_held_out(model, site, held, settings.batch_windows)),
    )


def _threshold(x: torch.Tensor, sources: torch.Tensor, atoms: int, l0: int) -> float:
    """Find the relative error at which the published recipe admits about `atoms`."""
    threshold, low, high = 0.3, 0.0, 1.0  # too many atoms at the lower bound, too few at the upper
    for _ in range(_SEARCHES):
        found = len(build_dictionary([(x, sources)], l0, threshold, max_atoms=2 * atoms))
        if abs(found - atoms) <= _CLOSE * atoms:
            return threshold
        low, high = (threshold, high) if found > atoms else (low, threshold)
        threshold *= (max(found, 1) / atoms) ** _GROWTH
        if not low < threshold < high:
            threshold = (low + high) / 2
    raise UserError(f"no threshold gives {atoms:,} atoms here, the last tried {found:,}: ask for others")


def _build(
    x: torch.Tensor, sources: torch.Tensor, l0: int, threshold: float, draws: int
) -> tuple[dict[str, list[Dictionary]], dict[str, float]]:
    """Build the dictionaries of each recipe, and time the first of each.

    Random selection depends on the row numbers, so that leaving out the first rows gives another draw.
    """
    built: dict[str, list[Dictionary]] = {}
    seconds: dict[str, float] = {}
    for recipe in RECIPES:
        parts = [(x[draw:], sources[draw:]) for draw in range(1 if recipe == "published" else draws)]
        most = len(built["published"][0]) if built else None

        def build(
            part: tuple[torch.Tensor, torch.Tensor], recipe: Recipe = recipe, most: int | None = most
        ) -> Dictionary:
            return build_dictionary([part], l0, threshold, max_atoms=most, recipe=recipe)

        seconds[recipe], first = timed(lambda build=build, parts=parts: build(parts[0]))
        built[recipe] = [first, *map(build, parts[1:])]
    return built, seconds


def _measure(
    built: Mapping[str, list[Dictionary]], seconds: Mapping[str, float], l0: int, measured_on: list[HeldOut]
) -> dict[str, RecipeResult]:
    coders = {
        name + words: [Setting(l0, DictionaryCoder(each, l0, method)) for each in dictionaries]
        for name, dictionaries in built.items()
        for words, method in (("", "matching"), (REFITTED, "refitted"))
    }
    measurement = measure_points([each for own in coders.values() for each in own], measured_on)
    points = iter(measurement.points)
    found = {name: [next(points) for _ in own] for name, own in coders.items()}
    (published,) = found["published"]
    x = torch.cat([each.activations for each in measured_on])
    return {
        name: RecipeResult(
            _mean([_left(point.measured["variance_explained"]) for point in own]),
            _mean([point.measured["ce_loss_score"] for point in own]),
            _mean([_ahead(point, published, measurement) for point in own]),
            seconds[name.removesuffix(REFITTED)],
            timed(lambda coder=coders[name][0].coder: coder.encode(x), 3)[0],
        )
        for name, own in found.items()
    }


def _ahead(point: Point, other: Point, measurement: Measurement) -> Measured:
    found = paired_differences(point, measurement, other, measurement)
    if "ce_loss_score" not in found:
        raise UserError("the held-out tokens have no predictions: ask for more tokens")
    return found["ce_loss_score"]


def _left(explained: Measured) -> Measured:
    return Measured(1 - explained.value, 1 - explained.high, 1 - explained.low)


def _mean(measured: list[Measured]) -> tuple[float, float, float]:
    value, low, high = map(mean, zip(*measured, strict=True))
    return value, low, high


def _surely(rows: list[RecipeRow], name: str) -> tuple[int, int]:
    leads = [row.recipes[name].ce_lead for row in rows]
    return sum(low > 0 for _, low, _ in leads), sum(high < 0 for *_, high in leads)


def _lead(rows: list[RecipeRow], ahead: str, name: str) -> Lead:
    pairs = [(row.recipes[ahead], row.recipes[name]) for row in rows]
    off = [1 - ours.unexplained[0] / theirs.unexplained[0] for ours, theirs in pairs]
    more = [ours.ce_loss_score[0] - theirs.ce_loss_score[0] for ours, theirs in pairs]
    return Lead(mean(off), sum(each > 0 for each in off), mean(more), sum(each > 0 for each in more))
