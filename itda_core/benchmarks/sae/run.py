"""Benchmark of dictionaries against SAEs: `itda bench sae`.

It measures the time that an SAE takes to reach a dictionary's CE loss score, and a dictionary an SAE's. All methods
read the same documents in one order, with the same width, L0 and threads, and are evaluated on the same tokens of
other documents. The dictionary stops after some of these; SAEs go on, so that they see many distinct activations
before they see one again. The time of a method is that of building or training: it excludes capture and evaluation of
the curves; ITDA's includes compilation with an empty cache, as after installation. An atom of the dictionary is never
removed, so that ITDA at fewer tokens is its first atoms.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numba
import torch
from safetensors.torch import save_file

from itda_core.benchmarks.machine import measure_machine
from itda_core.benchmarks.sae.contestant import Judge, first_reach, train_contestant
from itda_core.benchmarks.sae.results import (
    BenchSite,
    Contestant,
    Reach,
    SaeBench,
    SaeReport,
    SiteContest,
    Versus,
)
from itda_core.capture.local import Capture
from itda_core.common.errors import UserError
from itda_core.common.files import read_json
from itda_core.common.settings import BuildSettings, DictionarySettings
from itda_core.common.types import Site
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import Window, is_held_out, make_windows
from itda_core.dictionary.builder import DictionaryBuilder
from itda_core.evaluation.coders import DictionaryCoder
from itda_core.evaluation.metrics import HeldOut, read_held_out
from itda_core.evaluation.sae.saelens import require_saelens
from itda_core.models.bundled import model_folder
from itda_core.models.model import Model, load_model

Say = Callable[[str], None]
"""Function that receives a progress message."""
_COMPILE_ROWS = 4_096  # enough for every loop of a build to be called
_FIRST_MARK = 0.02  # share of an SAE's run
_FEWEST_STEPS, _TIMED_STEPS = 10, 10
_AS_SPARSE = 1.25  # maximum L0 of a point, relative to the L0 of the comparison


def bench_sae(corpus: Corpus, settings: SaeBench, say: Say) -> SaeReport:
    """Run the benchmark.

    Args:
        corpus: the corpus that the models read.
        settings: sites, sizes, hyperparameters.
        say: called with a progress message.

    Raises:
        UserError: SAELens is not installed, a demo model is not available, or the corpus has too few tokens.
    """
    require_saelens()
    start = time.perf_counter()
    threads = min(torch.get_num_threads(), numba.get_num_threads())
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    say("compiling ITDA's loops from nothing")
    compiling = compile_seconds(settings, threads)
    contests = tuple(_contest(site, corpus, settings, compiling, say) for site in settings.sites)
    return SaeReport(
        contests=contests,
        compile_seconds=compiling,
        threads=threads,
        machine=measure_machine(contests[0].d_model),
        settings=settings,
        corpus=corpus.id,
        seconds=time.perf_counter() - start,
    )


def compile_seconds(settings: SaeBench, threads: int) -> float:
    """Measure the compilation time of a build's loops with an empty cache.

    It is the time of a first small build less that of a second one, both in a separate process whose cache of
    compiled loops is empty.

    Raises:
        RuntimeError: that process fails.
    """
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)
        x = torch.randn(_COMPILE_ROWS, 64) + 1
        rows = torch.arange(len(x))
        save_file({"x": x, "sources": torch.stack([rows, rows], 1)}, Path(folder, "rows.safetensors"))
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "itda_core.benchmarks.pursuit.cold_build",
                folder,
                str(settings.l0),
                str(threads),
            ],
            env={**os.environ, "NUMBA_CACHE_DIR": str(Path(folder, "cache"))},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the build in a fresh process failed: {done.stderr.strip()[-500:]}")
        first, second = read_json(Path(folder, "seconds.json"))
    return max(0.0, first - second)


def _contest(site: BenchSite, corpus: Corpus, settings: SaeBench, compiling: float, say: Say) -> SiteContest:
    model = load_model(str(model_folder(site.model)), device="cpu")
    say(f"capturing {settings.sae_tokens:,} tokens, or all there are, of {site.model}, layer {site.layer}")
    start = time.perf_counter()
    data = _capture_rows(model, site, corpus, settings)
    capture = time.perf_counter() - start
    judge = Judge(_held_out(model, site, data.windows, settings))
    say(f"building from {data.own:,} activations")
    itda = _build(data, site, settings, compiling, judge)
    width = itda.curve[-1].latents
    contestants = [itda]
    for kind, seconds in settings.sae_seconds:
        say(f"{width:,} atoms, CE loss score {itda.curve[-1].ce_loss_score:.4f}; training a {kind} SAE as wide")
        contestants.append(train_contestant(data.x, kind, seconds, width, settings, judge, say)[0])
    return SiteContest(
        site=site,
        d_model=data.x.shape[1],
        latents=width,
        tokens=data.own,
        sae_tokens=len(data.x),
        measured_tokens=judge.tokens,
        capture_seconds=capture,
        ce_original=judge.ce_original,
        ce_zero=judge.ce_zero,
        contestants=tuple(contestants),
        versus=tuple(versus(itda, other, settings.l0) for other in contestants[1:]),
    )


class _Data(NamedTuple):
    """Input data of a site's methods."""

    x: torch.Tensor
    """[n, d_model] float32: training activations of the SAEs."""
    sources: torch.Tensor
    """[n, 2] int64."""
    own: int
    """Number of these activations, the first ones, that the dictionary is built from."""
    windows: list[Window]
    """Windows of the held-out documents, from the same text as the dictionary's."""


def _capture_rows(model: Model, site: BenchSite, corpus: Corpus, settings: SaeBench) -> _Data:
    """Capture the activations of a site."""

    def read(tokens: int) -> list[Window]:
        return list(make_windows(corpus.documents(), model.tokenizer, corpus.cut, tokens))

    first = read(settings.tokens)
    if (found := sum(len(window.captured) for window in first)) < settings.tokens:
        raise UserError(f"{corpus.id} has {found:,} tokens, {settings.tokens:,} are needed: name a larger corpus")
    used = [window for window in read(settings.sae_tokens) if not is_held_out(window.document)]
    own = sum(len(window.captured) for window in first if not is_held_out(window.document))
    place = Site(site.layer)
    batches = list(Capture(model, [place], lambda: used, BuildSettings((site.layer,)).batch_windows))
    return _Data(
        torch.cat([batch.activations[place] for batch in batches]),
        torch.cat([batch.sources for batch in batches]),
        own,
        [window for window in first if is_held_out(window.document)],
    )


def _held_out(model: Model, site: BenchSite, windows: list[Window], settings: SaeBench) -> list[HeldOut]:
    """Run the unchanged model over the first windows, until there are enough tokens."""
    batches: list[HeldOut] = []
    for batch in read_held_out(model, Site(site.layer), windows):
        batches.append(batch)
        if sum(len(each.sources) for each in batches) >= settings.measured_tokens:
            break
    return batches


def _build(data: _Data, site: BenchSite, settings: SaeBench, compiling: float, judge: Judge) -> Contestant:
    """Build ITDA, timed after every batch, and evaluate it at several points.

    At a point the dictionary consists of the atoms admitted so far.
    """
    dictionary_settings = DictionarySettings(l0=settings.l0, threshold=site.threshold)
    build = DictionaryBuilder(dictionary_settings)
    warm = DictionaryBuilder(
        dictionary_settings
    )  # loads or compiles the loops, whose compilation time is measured separately
    warm.add(data.x[: settings.build_rows], data.sources[: settings.build_rows])
    warm.finish()
    seconds: list[float] = []
    start = time.perf_counter()
    for first in range(0, data.own, settings.build_rows):
        rows = slice(first, min(first + settings.build_rows, data.own))
        build.add(data.x[rows], data.sources[rows])
        seconds.append(time.perf_counter() - start)
    dictionary = build.finish()
    seconds[-1] = time.perf_counter() - start
    n = len(seconds)
    chosen = sorted({min(n, max(1, ceil(n ** (mark / settings.marks)))) for mark in range(1, settings.marks + 1)})
    curve = []
    for number in chosen:
        growth = dictionary.history[number - 1]
        coder = DictionaryCoder(dictionary.crop(max(1, growth.atoms)), settings.l0)
        curve.append(judge.point(coder, settings.l0, growth.rows, compiling + seconds[number - 1]))
    return Contestant("itda", tuple(curve))


def versus(itda: Contestant, sae: Contestant, l0: int) -> Versus:
    """Find where each method reaches the other's final CE loss score.

    Only points with an L0 of at most 1.25 times `l0` count: a standard SAE starts with most latents active, and its
    score there is not comparable at this L0.
    """
    own, other = itda.curve[-1], sae.curve[-1]
    tokens, seconds, reached = first_reach(sae.curve, own.ce_loss_score, l0)
    at_itda = Reach(reached, tokens, seconds, own.seconds / seconds, own.tokens / tokens, None if reached else "upper")
    tokens, seconds, reached = first_reach(itda.curve, other.ce_loss_score, l0)
    at_sae = Reach(
        reached, tokens, seconds, seconds / other.seconds, tokens / other.tokens, None if reached else "lower"
    )
    return Versus(sae.name, at_itda, at_sae)
