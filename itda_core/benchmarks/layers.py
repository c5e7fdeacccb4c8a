"""`itda bench layers`: how often each measure of similarity finds the layer of the same depth in another model.

The paper's Eq. 9 over models that differ in their seed only, on the same activations for every measure; against the
number of tokens and the threshold; across architectures; and what dictionaries say of whole models and of training.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from itda_core.benchmarks.layer_sites import ModelActivations, SiteDictionary, build_sites, capture_models, own_errors
from itda_core.benchmarks.layers_results import Accuracy, Cost, LayersBench, LayersReport
from itda_core.benchmarks.machine import measure_machine
from itda_core.benchmarks.memory import peak_bytes, restart_peak
from itda_core.corpus import Corpus
from itda_core.demo_models import checkpoints, model_folder, seed_models
from itda_core.similarity import errors, jaccard, layer_matching, matched_layers, shared, transplanting, union_jaccard
from itda_core.similarity.checks import TooFewTokens
from itda_core.similarity.matching import both_ways
from itda_core.similarity.measures import ACTIVATION_MEASURES, layer_similarities
from itda_core.similarity.shared import shared_sources
from itda_core.types import UserError

OTHERS = ("docs-a", "docs-b")
"""The second architecture, with the same tokenizer."""

Pairs = dict[tuple[str, str], np.ndarray]
"""By ordered pair of models: [layers of the first, layers of the second]."""
Say = Callable[[str], None]
"""Takes a line on what is being done."""


def find_models(say: Say) -> tuple[dict[str, Path], dict[str, Path]]:
    """Folders by name: the models that differ in their seed only, and those of another architecture.

    Where fewer than two seeds lie beside the package, the two demo models of one architecture take their place.

    Raises UserError where the demo models are not here either.
    """
    seeds, others = seed_models(), {name: model_folder(name) for name in OTHERS}
    if len(seeds) >= 2:
        return seeds, others
    say(f"{len(seeds)} of data/seeds are trained, two are the least: taking {' and '.join(OTHERS)} instead")
    return others, {}


def bench_layers(
    seeds: Mapping[str, Path], others: Mapping[str, Path], corpus: Corpus, settings: LayersBench, say: Say
) -> LayersReport:
    """Run the bench.

    Args:
        seeds: folders by name of two models or more that differ in their seed only.
        others: folders by name of models of another architecture with the same tokenizer; there may be none.
        corpus: what they read.
        settings: tokens, thresholds, budgets.
        say: called with a line on what is being done.

    Raises:
        UserError: fewer than two seeds, seeds of different shapes, a tokenizer of another kind, a corpus with too few
            tokens, or a threshold that admits no atoms.
    """
    if len(seeds) < 2:
        raise UserError("layers are matched between two models at least: train them with data/train.py")
    start = time.perf_counter()
    models = capture_models({**seeds, **others}, corpus, settings.tokens, settings.batch_windows, say)
    if len({tuple(len(x[0]) for x in models[name].layers) for name in seeds}) > 1:
        raise UserError("the seeds differ in depth or width: Eq. 9 is about models of one architecture")
    within = list(combinations(seeds, 2))
    across = list(product(seeds, others))
    trial = Trial(models, settings.threshold, settings, say)
    dictionaries = trial.dictionaries
    main, costs = trial.accuracy(within), trial.costs
    far = [trial.accuracy(across)] if across else []
    del trial
    one_kind = {name: models[name] for name in seeds}
    thresholds = []
    for threshold in settings.thresholds:
        say(f"threshold {threshold:g}")
        sweep = Trial(one_kind, threshold, settings, say, known=main if threshold != settings.threshold else None)
        thresholds.append(main if threshold == settings.threshold else sweep.accuracy(within))
    budgets = []
    for tokens in settings.budgets:
        say(f"{tokens:,} tokens")
        near_draws, far_draws = [], []
        for draw in range(min(settings.draws, settings.tokens // tokens)):
            parts = {name: model.part(draw * tokens, (draw + 1) * tokens) for name, model in models.items()}
            few = Trial(parts, settings.threshold, settings, say)
            near_draws.append(few.accuracy(within))
            far_draws += [few.accuracy(across)] if across else []
        budgets.append(_mean(near_draws))
        far += [_mean(far_draws)] if far_draws else []
    union_pairs = _unions(dictionaries)
    return LayersReport(
        models={name: [len(model.layers), model.layers[0].shape[1]] for name, model in models.items()},
        seeds=list(seeds),
        others=list(others),
        corpus=corpus.id,
        n_pairs=2 * len(within),
        main=main,
        budgets=budgets,
        thresholds=thresholds,
        across=far,
        cost=costs,
        union=_ranges(union_pairs, set(seeds)),
        union_pairs={f"{a} {b}": value for (a, b), value in union_pairs.items()},
        convergence=_convergence(seeds, dictionaries, corpus, settings, say),
        machine=measure_machine(next(iter(models.values())).layers[0].shape[1]),
        settings=settings,
        seconds=time.perf_counter() - start,
    )
