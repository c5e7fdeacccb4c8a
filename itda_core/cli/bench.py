"""The `itda bench` commands."""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from itda_core.cli.options import json_option, quiet
from itda_core.common.columns import in_markdown


def bench_options(name: str, parser: argparse.ArgumentParser) -> None:
    """Give a bench's parser the options that it takes beside the library."""
    if name in _MEASURES_ACTIVATIONS:
        parser.add_argument(
            "--activations",
            type=Path,
            metavar="FILE",
            help="safetensors file with activations [n, d_model] and, optionally, sources [n, 2]",
        )
    if name in _FULL:
        parser.add_argument("--full", action="store_true", help=_FULL[name])
    if name == "recipes":
        parser.add_argument(
            "--keep",
            type=Path,
            metavar="FILE",
            help="JSON file that gets the report after each row; rows that it has already are not measured again",
        )
    shape = parser.add_mutually_exclusive_group()
    json_option(shape)
    shape.add_argument("--markdown", action="store_true", help="print the tables in Markdown, as in data/results/")


def _print(
    args: argparse.Namespace, report: dict[str, Any], table: Callable[[], str], page: Callable[[], str] | None = None
) -> int:
    """Print a report as JSON, as Markdown or for a terminal; returns the exit code.

    In Markdown it has the tables of its page in data/results/, if it has some of its own.
    """
    if args.json:
        print(json.dumps(report))
        return 0
    with in_markdown() if args.markdown else nullcontext():
        print(page() if args.markdown and page is not None else table())
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _pursuit(args: argparse.Namespace) -> int:
    from itda_core.benchmarks.pursuit.results import PursuitBench
    from itda_core.benchmarks.pursuit.run import bench_pursuit
    from itda_core.benchmarks.pursuit.table import pursuit_table
    from itda_core.benchmarks.pursuit.wide import WideBench, bench_full

    data, settings = _activations(args), PursuitBench()
    report = bench_pursuit(data, settings, _say)
    full = bench_full(data, settings, WideBench(), _say) if args.full else None
    found = {**report.as_json(), **({} if full is None else asdict(full))}
    return _print(args, found, lambda: pursuit_table(report, full))


def _capture(args: argparse.Namespace) -> int:
    quiet()
    from itda_core.benchmarks.activations import documentation
    from itda_core.benchmarks.capture.results import FULL_CAPTURE, CaptureBench
    from itda_core.benchmarks.capture.run import bench_capture
    from itda_core.benchmarks.capture.table import capture_table

    _say("reading the installed documentation")
    with documentation() as corpus:
        report = bench_capture(corpus, FULL_CAPTURE if args.full else CaptureBench(), _say)
    return _print(args, report.as_json(), lambda: capture_table(report))


def _scale(args: argparse.Namespace) -> int:
    from itda_core.benchmarks.scale.results import FULL_SCALE, ScaleBench
    from itda_core.benchmarks.scale.run import bench_scale
    from itda_core.benchmarks.scale.table import scale_table

    report = bench_scale(_activations(args), FULL_SCALE if args.full else ScaleBench(), _say)
    return _print(args, report.as_json(), lambda: scale_table(report))


def _layers(args: argparse.Namespace) -> int:
    quiet()
    from itda_core.benchmarks.activations import documentation
    from itda_core.benchmarks.layers.page import layers_page
    from itda_core.benchmarks.layers.results import FULL_LAYERS, LayersBench
    from itda_core.benchmarks.layers.run import bench_layers, find_models
    from itda_core.benchmarks.layers.table import layers_table

    models = find_models(_say)
    _say("reading the installed documentation")
    with documentation() as corpus:
        report = bench_layers(models, corpus, FULL_LAYERS if args.full else LayersBench(), _say)
    return _print(args, report.as_json(), lambda: layers_table(report), lambda: layers_page(report))


def _sae(args: argparse.Namespace) -> int:
    quiet()
    from itda_core.benchmarks.activations import documentation
    from itda_core.benchmarks.sae.page import sae_page
    from itda_core.benchmarks.sae.results import FULL_SAE, SaeBench
    from itda_core.benchmarks.sae.run import bench_sae
    from itda_core.benchmarks.sae.table import sae_table
    from itda_core.evaluation.sae.saelens import require_saelens

    require_saelens()
    _say("reading the installed documentation")
    with documentation() as corpus:
        report = bench_sae(corpus, FULL_SAE if args.full else SaeBench(), _say)
    return _print(args, report.as_json(), lambda: sae_table(report), lambda: sae_page(report))


def _recipes(args: argparse.Namespace) -> int:
    quiet()
    from itda_core.benchmarks.activations import documentation
    from itda_core.benchmarks.recipes.page import recipes_page
    from itda_core.benchmarks.recipes.results import FULL_RECIPES, RecipesBench
    from itda_core.benchmarks.recipes.run import bench_recipes
    from itda_core.benchmarks.recipes.table import recipes_table

    _say("reading the installed documentation")
    with documentation() as corpus:
        report = bench_recipes(corpus, FULL_RECIPES if args.full else RecipesBench(), _say, args.keep)
    return _print(args, report.as_json(), lambda: recipes_table(report), lambda: recipes_page(report))


def _activations(args: argparse.Namespace) -> Any:
    if args.activations is None:
        quiet()  # a model may have to be loaded
    from itda_core.benchmarks.activations import find_activations

    return find_activations(args.activations, _say)


_MEASURES_ACTIVATIONS = {"pursuit", "scale"}
_FULL = {
    "capture": "a pretrained model, SmolLM2-135M, in float32 and bfloat16",
    "pursuit": "also 100,000 atoms, and the memory of a million rows",
    "scale": "20,000 atoms, in about a quarter of an hour on two cores",
    "sae": "three models, and SAEs trained on the whole corpus, in about 50 minutes",
    "recipes": "five layers of SmolLM2-135M, up to 16,000 atoms, and a TopK SAE for each: hours on two cores",
    "layers": "more tokens, thresholds and draws than for the published figures",
}
BENCHES: tuple[tuple[str, str, Callable[[argparse.Namespace], int]], ...] = (
    ("pursuit", "measure building and encoding against the plain algorithm", _pursuit),
    ("capture", "measure capture through nnsight against plain forward hooks", _capture),
    ("layers", "compare similarity measures at matching layers between models", _layers),
    ("sae", "measure how long a sparse autoencoder takes to reach a dictionary's quality", _sae),
    ("recipes", "compare recipes that select atoms, at equal size", _recipes),
    ("scale", "measure the cost of a dictionary of Llama-3.1 70B or 405B, at its width", _scale),
)
"""Name, description and function of each bench."""
