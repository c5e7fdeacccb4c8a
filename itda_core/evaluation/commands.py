"""Evaluation as commands: what each takes, runs and prints. What needs torch is imported by the one that runs."""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict

from itda_core.benchmarks.commands import json_option, quiet
from itda_core.config import MeasureSettings
from itda_core.jobs import JOB_VARIABLE, running_job
from itda_core.library import Library
from itda_core.quality import MEASURES, Quality

_SHOWN = ("ce_loss_score", "variance_explained", "relative_error", "kl", "dead")


def _measure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a dictionary's id, as itda list shows it")
    most = MeasureSettings().tokens
    parser.add_argument("--tokens", type=int, default=most, help=f"held-out tokens at most (default: {most})")
    json_option(parser)


def _measure(given: argparse.Namespace) -> int:
    settings = MeasureSettings(tokens=given.tokens)
    with running_job(given.library, f"Measure {given.id}", os.environ.get(JOB_VARIABLE)) as job:
        quiet()
        from itda_core.evaluation.measuring import measure

        found = measure(Library(given.library), given.id, job, settings)
    print(json.dumps(asdict(found)) if given.json else quality_table(found))
    return 0


def quality_table(report: Quality) -> str:
    """The most telling measures of every point as lines of a terminal, with what they were measured on."""
    lines = [f"{report.id}: {report.tokens:,} tokens of {report.documents:,} documents"]
    if report.ce_original is not None and report.ce_zero is not None:
        lines.append(f"CE loss {report.ce_original:.4f} unchanged, {report.ce_zero:.4f} with zeros")
    names = [name for name in _SHOWN if any(name in point.measured for each in report.series for point in each.points)]
    for series in report.series:
        lines += ["", f"{series.name:8}{'latents':>10}{'L0':>6}" + "".join(f"{_short(name):>22}" for name in names)]
        for point in series.points:
            told = [point.measured.get(name) for name in names]
            values = ["–" if each is None else f"{each.value:.4f} ±{(each.high - each.low) / 2:.4f}" for each in told]
            lines.append(f"{'':8}{point.latents:>10,}{point.l0:>6}" + "".join(f"{value:>22}" for value in values))
    return "\n".join(lines)


def _short(name: str) -> str:
    return MEASURES[name].removesuffix(" to the unchanged model")


Command = tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]
COMMANDS: tuple[Command, ...] = (
    ("measure", "measure how good a dictionary is, beside random atoms", _measure_options, _measure),
)
"""Name, what it does, what gives its parser its options, and what runs it."""
