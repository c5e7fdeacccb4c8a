"""Layer-matching benchmark of the similarity measures: `itda bench layers`.

It evaluates the paper's Eq. 9 over models that differ in their seed only, on the same activations for every measure;
by number of tokens and by threshold; across architectures; and uses dictionaries to compare complete models and
training checkpoints.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from itda_core.benchmarks.layers.results import Accuracy, LayersBench, LayersReport, Lead, Unions
from itda_core.benchmarks.layers.sites import SiteDictionary, build_sites, capture_models, equal_threshold
from itda_core.benchmarks.layers.trial import Matched, Trial, mean_accuracy
from itda_core.benchmarks.machine import measure_machine
from itda_core.capture.layers import LayerActivations, common_rows
from itda_core.common.errors import UserError
from itda_core.corpus.store import Corpus
from itda_core.models.bundled import checkpoints, demo_models, model_folder, seed_models
from itda_core.reports.chance import chance
from itda_core.similarity import jaccard, union_jaccard
from itda_core.similarity.matching import mean_matching
from itda_core.similarity.overlap import union_keys

OTHERS = ("docs-a", "docs-b")
"""Models of the second architecture, with the same tokenizer."""
CHOOSING = 2
"""Number of seeds, the first ones, used to choose settings; results on the others are independent of that choice."""
FOREIGN = ("docs-c",)
"""Models with another tokenizer."""

Say = Callable[[str], None]
"""Function that receives a progress message."""


@dataclass(frozen=True)
class Models:
    """Models to compare, as folders by name."""

    seeds: Mapping[str, Path]
    """Models that differ in their seed only: two or more."""
    others: Mapping[str, Path] = field(default_factory=dict)
    """Models of another architecture, with the same tokenizer."""
    foreign: Mapping[str, Path] = field(default_factory=dict)
    """Models with another tokenizer."""


def find_models(say: Say) -> Models:
    """Find the models beside the package.

    If there are fewer than two seeds, the two demo models of one architecture replace them.

    Raises UserError if the demo models are not available either.
    """
    seeds, others = seed_models(), {name: model_folder(name) for name in OTHERS}
    foreign = {name: model_folder(name) for name in FOREIGN if name in demo_models()}
    if len(seeds) >= 2:
        return Models(seeds, others, foreign)
    say(f"{len(seeds)} of data/seeds are trained, two are the least: taking {' and '.join(OTHERS)} instead")
    return Models(others, {}, foreign)


def bench_layers(trained: Models, corpus: Corpus, settings: LayersBench, say: Say) -> LayersReport:
    """Run the benchmark.

    Args:
        trained: the models.
        corpus: the corpus that they read.
        settings: tokens, thresholds, budgets.
        say: called with a progress message.

    Raises:
        UserError: fewer than two seeds, seeds of different shapes, a tokenizer of another kind, a corpus with too few
            tokens, or a threshold that admits no atoms.
    """
    seeds, others = trained.seeds, trained.others
    if len(seeds) < 2:
        raise UserError("layers are matched between two models at least: train them with data/train.py")
    start = time.perf_counter()
    models = capture_models({**seeds, **others}, corpus, settings.tokens, settings.batch_windows, say)
    if len({tuple(x.shape[1] for x in models[name].layers) for name in seeds}) > 1:
        raise UserError("the seeds differ in depth or width: Eq. 9 is about models of one architecture")
    one_kind = {name: models[name] for name in seeds}
    within = list(combinations(seeds, 2))
    across = list(product(seeds, others))
    say("all measures on all tokens")
    trial = Trial(one_kind, settings.threshold, settings)
    finals = trial.dictionaries
    matched, costs = trial.matched(within), trial.costs
    main = mean_accuracy([matched])
    sources = round(_average(len(union_keys(_sources(sites))) for sites in finals.values()))
    del trial
    rest = {name: one_kind[name] for name in list(seeds)[CHOOSING:]}
    held_out = None
    if len(rest) > 1:
        say(f"the same with {', '.join(rest)} alone")
        held_out = Trial(rest, settings.threshold, settings).accuracy(list(combinations(rest, 2)))
    equal = {name: equal_threshold(models[name], settings.l0, sources) for name in others}
    thresholds_of = dict.fromkeys(seeds, settings.threshold) | equal
    far = []
    if across:
        say("the same with the other architecture")
        far.append(Trial(models, thresholds_of, settings).accuracy(across))
    thresholds = []
    for threshold in settings.thresholds:
        say(f"threshold {threshold:g}")
        thresholds.append(Trial(one_kind, threshold, settings, with_activations=False).accuracy(within))
    budgets = []
    for tokens in settings.budgets:
        say(f"{tokens:,} tokens")
        parts = [slice(n * tokens, (n + 1) * tokens) for n in range(min(settings.draws, settings.tokens // tokens))]
        budgets.append(_drawn(one_kind, within, parts, settings, thresholds_of))
        far += [_drawn(models, across, parts, settings, thresholds_of)] if across else []
    foreign = {}
    for name in trained.foreign:
        foreign[name], equal[name] = _foreign(name, models, trained, corpus, settings, sources, say)
    return LayersReport(
        models={name: [len(model.layers), model.layers[0].shape[1]] for name, model in models.items()},
        seeds=list(seeds),
        others=list(others),
        corpus=corpus.id,
        n_pairs=2 * len(within),
        main=main,
        lead=_lead(main, matched),
        held_out=held_out,
        held_out_seeds=list(rest),
        budgets=budgets,
        thresholds=thresholds,
        across=far,
        foreign=foreign,
        cost=costs,
        equal_threshold=equal,
        unions=[_unions(models, set(seeds), wanted, settings, say) for wanted in settings.union_sources],
        convergence=_convergence(seeds, finals, corpus, settings, say),
        machine=measure_machine(next(iter(models.values())).layers[0].shape[1]),
        settings=settings,
        seconds=time.perf_counter() - start,
    )


def _drawn(
    models: Mapping[str, LayerActivations],
    pairs: Sequence[tuple[str, str]],
    parts: Sequence[slice],
    settings: LayersBench,
    thresholds: Mapping[str, float],
) -> Accuracy:
    """Return the mean accuracy over several stretches of tokens."""
    trials = (Trial({name: model.take(part) for name, model in models.items()}, thresholds, settings) for part in parts)
    return mean_accuracy([trial.matched(pairs) for trial in trials])


def _foreign(
    name: str,
    models: Mapping[str, LayerActivations],
    trained: Models,
    corpus: Corpus,
    settings: LayersBench,
    sources: int,
    say: Say,
) -> tuple[Accuracy, float]:
    """Measure the accuracy between the seeds and a model with another tokenizer.

    Only tokens that end at the same character in both are used. Also returns the threshold at which that model has
    `sources` sources on all its tokens, which is used for the comparison.
    """
    read = capture_models({name: trained.foreign[name]}, corpus, settings.tokens, settings.batch_windows, say)[name]
    rows, rows_of_it = common_rows(models[next(iter(trained.seeds))].ends, read.ends)
    if len(rows) == 0:
        raise UserError(f"no token of {name} ends where one of the others does: name a larger corpus")
    common = {seed: models[seed].take(rows) for seed in trained.seeds}
    common[name] = replace(read.take(rows_of_it), sources=next(iter(common.values())).sources)
    say(f"{len(rows):,} tokens that end at the same character in {name}")
    equal = equal_threshold(read, settings.l0, sources)
    thresholds = dict.fromkeys(trained.seeds, settings.threshold) | {name: equal}
    return Trial(common, thresholds, settings).accuracy([(seed, name) for seed in trained.seeds]), equal


def _lead(main: Accuracy, matched: Matched) -> dict[str, Lead]:
    """Return the lead of the most accurate measure over each other measure.

    The difference is taken for each pair of models.
    """
    best = max(main.accuracy, key=main.accuracy.__getitem__)
    found = {}
    for name in main.accuracy:
        ahead = {pair: matched.shares[best][pair] - share for pair, share in matched.shares[name].items()}
        if name != best:
            difference = mean_matching(ahead)
            found[name] = Lead(best, difference.accuracy, difference.interval)
    return found


def _average(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _sources(sites: Sequence[SiteDictionary]) -> list[torch.Tensor]:
    """Return the sources of each layer."""
    return [site.dictionary.sources for site in sites]


def _unions(
    models: Mapping[str, LayerActivations], seeds: set[str], wanted: int, settings: LayersBench, say: Say
) -> Unions:
    """Compare each pair of models by the union of their layers' sources.

    Every model has about `wanted` sources.
    """
    say(f"whole models of {wanted:,} sources each")
    threshold = {name: equal_threshold(model, settings.l0, wanted) for name, model in models.items()}
    sources = {name: _sources(build_sites(model, settings.l0, threshold[name])) for name, model in models.items()}
    pairs = {(a, b): union_jaccard(sources[a], sources[b]) for a, b in combinations(sources, 2)}
    kinds: dict[str, list[float]] = {"same": [], "different": []}
    for (a, b), value in pairs.items():
        kinds["same" if (a in seeds) == (b in seeds) else "different"].append(value)
    return Unions(
        sources=wanted,
        chance=chance(pd.DataFrame({"n": [settings.tokens], "a": [wanted], "b": [wanted]}), wanted, wanted),
        threshold=threshold,
        pairs={f"{a} {b}": value for (a, b), value in pairs.items()},
        ranges={kind: (min(values), max(values)) if values else None for kind, values in kinds.items()},
    )


def _convergence(
    seeds: Mapping[str, Path],
    dictionaries: Mapping[str, Sequence[SiteDictionary]],
    corpus: Corpus,
    settings: LayersBench,
    say: Say,
) -> dict[str, Any]:
    """Return the IoU of each layer's dictionary at each checkpoint with the final one.

    Uses the first seed that has checkpoints.
    """
    found = {name: steps for name, folder in seeds.items() if (steps := checkpoints(folder))}
    if not found:
        return {"model": None, "steps": [], "iou": []}
    name, steps = next(iter(found.items()))
    folders = {f"{name} at step {step}": folder for step, folder in steps.items()}
    captured = capture_models(folders, corpus, settings.tokens, settings.batch_windows, say)
    final = _sources(dictionaries[name])
    ious = []
    for model in captured.values():
        now = build_sites(model, settings.l0, settings.threshold)
        ious.append([jaccard(site.dictionary.sources, last) for site, last in zip(now, final, strict=True)])
    return {"model": name, "steps": list(steps), "iou": ious}
