"""The `itda measure`, `sae` and `probe` commands."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

from itda_core.cli.options import command_job, json_option, quiet
from itda_core.common.errors import UserError
from itda_core.common.options import add_options, options_of, settings_from
from itda_core.common.settings import MeasureSettings, ProbingSettings, SaeSettings
from itda_core.library.library import Library
from itda_core.reports.quality import QUALITY_METRICS, Quality, read_quality
from itda_core.reports.sae import sae_folder

_SHOWN = ("ce_loss_score", "variance_explained", "relative_error", "kl", "dead")
_TRAINING = tuple(dict.fromkeys(("kind", "width", "k", *(each.name for each in options_of(SaeSettings)))))
"""Options of training, in the order in which one is named that does not go with a pretrained SAE."""


def _measure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="dictionary id (see itda list)")
    add_options(parser, MeasureSettings)
    json_option(parser)


def _measure(args: argparse.Namespace) -> int:
    settings = settings_from(MeasureSettings, args)
    with command_job(args, f"Measure {args.id}") as job:
        quiet()
        from itda_core.evaluation.evaluate import measure

        found = measure(Library(args.library), args.id, job, settings)
    print(json.dumps(asdict(found)) if args.json else quality_table(found))
    return 0


def quality_table(report: Quality) -> str:
    """Format the main metrics of every point for a terminal."""
    seen = ", which it was built from: the figures are optimistic" if report.is_seen else ""
    lines = [f"{report.id}: {report.tokens:,} tokens of {report.documents:,} documents{seen}"]
    if report.ce_original is not None and report.ce_zero is not None:
        lines.append(f"CE loss {report.ce_original:.4f} unchanged, {report.ce_zero:.4f} with zeros")
    names = [name for name in _SHOWN if any(name in point.measured for each in report.series for point in each.points)]
    for series in report.series:
        lines += ["", f"{series.name:8}{'latents':>10}{'L0':>6}" + "".join(f"{_short(name):>22}" for name in names)]
        for point in series.points:
            found = [point.measured.get(name) for name in names]
            values = ["–" if each is None else f"{each.value:.4f} ±{(each.high - each.low) / 2:.4f}" for each in found]
            lines.append(f"{'':8}{point.latents:>10,}{point.l0:>6}" + "".join(f"{value:>22}" for value in values))
    return "\n".join(lines)


def _short(name: str) -> str:
    return QUALITY_METRICS[name].removesuffix(" to the unchanged model")


def _sae_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="dictionary id (see itda list)")
    training = parser.add_argument_group("trained on the dictionary's activations")
    training.add_argument("--width", type=int, help="number of latents (default: the dictionary's number of atoms)")
    training.add_argument("--k", type=int, help="active latents per token (default: the dictionary's L0)")
    add_options(training, SaeSettings, are_optional=True)
    pretrained = parser.add_argument_group("pretrained")
    pretrained.add_argument("--release", help="name of a SAELens release, or a Hub repository in its format")
    pretrained.add_argument("--sae-id", help="the SAE's id in the release")
    json_option(parser)


def _sae(args: argparse.Namespace) -> int:
    training = {name: getattr(args, name) for name in _TRAINING if getattr(args, name) is not None}
    if (args.release is None) != (args.sae_id is None):
        raise UserError("a pretrained SAE is named by both --release and --sae-id")
    if args.release is not None and training:
        raise UserError(f"--release names an SAE that is trained already: leave --{next(iter(training))} out")
    width, k = training.pop("width", None), training.pop("k", None)
    settings = settings_from(SaeSettings, training)
    library = Library(args.library)
    title = f"SAE for {args.id}" if args.release is None else f"SAE {args.release} {args.sae_id} for {args.id}"
    with command_job(args, title) as job:
        quiet()
        from itda_core.evaluation.sae.run import adopt_sae, train_sae

        if args.release is None:
            record = train_sae(library, args.id, job, settings, width, k)
        else:
            record = adopt_sae(library, args.id, args.release, args.sae_id, job)
    quality = read_quality(sae_folder(library, record.id))
    points = [] if quality is None else [point for series in quality.series for point in series.points]
    if args.json:
        print(json.dumps({**record.manifest(), "quality": None if quality is None else asdict(quality)}))
        return 0
    seen = "" if record.tokens is None else f" from {record.tokens:,} activations"
    print(f"{record.id}  {record.width:,} latents{seen}")
    for point in points:
        for name, value in point.measured.items():
            print(f"{QUALITY_METRICS[name]}: {value.value:.4f} (95 % interval {value.low:.4f} to {value.high:.4f})")
    return 0


def _probe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="dictionary id (see itda list)")
    add_options(parser, ProbingSettings)
    json_option(parser)


def _probe(args: argparse.Namespace) -> int:
    with command_job(args, f"Probe {args.id}") as job:
        quiet()
        from itda_core.cli.probing_table import probing_table
        from itda_core.evaluation.probing.run import probe

        found = probe(Library(args.library), args.id, job, settings_from(ProbingSettings, args))
    print(json.dumps(asdict(found)) if args.json else probing_table(found))
    return 0


Command = tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]
COMMANDS: tuple[Command, ...] = (
    ("measure", "measure a dictionary's quality, with random atoms as a baseline", _measure_options, _measure),
    ("sae", "train an SAE on a dictionary's site, or import a pretrained one, and measure it", _sae_options, _sae),
    ("probe", "measure how well single atoms predict properties of tokens, with baselines", _probe_options, _probe),
)
"""Name, description, function that adds its options, and function that runs it."""
