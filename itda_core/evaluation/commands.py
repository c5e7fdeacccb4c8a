"""Evaluation as commands: what each takes, runs and prints. What needs torch is imported by the one that runs."""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict

from itda_core.benchmarks.commands import json_option, quiet
from itda_core.jobs import JOB_VARIABLE, running_job
from itda_core.library import Library
from itda_core.probing_results import Probing


def _probe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a dictionary's id, as itda list shows it")
    parser.add_argument("--tokens", type=int, default=40_000, help="tokens to read at most (default: 40000)")
    json_option(parser)


def _probe(given: argparse.Namespace) -> int:
    with running_job(given.library, f"Probe {given.id}", os.environ.get(JOB_VARIABLE)) as job:
        quiet()
        from itda_core.evaluation.probing import ProbingSettings
        from itda_core.evaluation.probing_job import probe

        found = probe(Library(given.library), given.id, job, ProbingSettings(given.tokens))
    if given.json:
        print(json.dumps(asdict(found)))
    else:
        print(probing_table(found))
    return 0


def probing_table(report: Probing) -> str:
    """Balanced accuracies as lines of a terminal: a property a line, and the mean, a block for each coder."""
    from itda_core.evaluation.labels import property_of

    ks = list(dict.fromkeys(score.k for score in report.means))
    lines = [
        f"balanced accuracy on {report.test_tokens:,} tokens of {report.test_documents} documents, from k latents "
        f"(0.5 by chance); trained on {report.tokens - report.test_tokens:,} tokens of others"
    ]
    for coder in report.coders:
        lines += ["", f"{coder.words}: {coder.latents:,} latents, {coder.active:.1f} active a token"]
        lines.append(f"{'':24}" + "".join(f"{'all' if k is None else f'k = {k}':>9}" for k in ks))
        rows = {property_of(each.name).words: each.probes for each in report.properties}
        for words, scores in {**rows, "mean": report.means}.items():
            told = {score.k: score.accuracy.value for score in scores if score.coder == coder.name}
            lines.append(f"{words:24}" + "".join(f"{told[k]:9.3f}" if k in told else f"{'–':>9}" for k in ks))
    lines += ["", "without the model: from nothing but the position, and from nothing but which token it is"]
    for each in report.properties:
        lines.append(f"{property_of(each.name).words:24}{each.by_position:9.3f}{each.by_token:9.3f}")
    lines += [f"left out: {property_of(name).words}: {why}" for name, why in report.left_out.items()]
    return "\n".join(lines)


Command = tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]
COMMANDS: tuple[Command, ...] = (
    ("probe", "find how much single atoms tell of a token, beside SAEs and random ones", _probe_options, _probe),
)
"""Name, what it does, what gives its parser its options, and what runs it."""
