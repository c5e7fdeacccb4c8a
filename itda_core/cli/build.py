"""The `itda build` and `itda demo` commands."""

import argparse

from itda_core.cli.library import print_dictionaries
from itda_core.cli.options import command_job, default_text, quiet
from itda_core.common.errors import UserError
from itda_core.common.settings import (
    DTYPES,
    ERRORS,
    INITS,
    METHODS,
    RECIPES,
    SCANS,
    WINDOWS,
    BuildSettings,
    CorpusSettings,
    DictionarySettings,
    WindowSettings,
    parse_hooks,
    parse_layers,
)
from itda_core.library.library import Library


def build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `itda build`."""
    model = parser.add_argument_group("the model")
    model.add_argument("--revision", help="branch, tag or commit on the Hub")
    model.add_argument(
        "--device", help="cpu, cuda, mps, or auto to spread it with accelerate (default: cuda where there is one)"
    )
    model.add_argument("--dtype", default="float32", choices=DTYPES, help="what the model computes in")
    model.add_argument("--remote", action="store_true", help="run the model on NDIF, with the key in NDIF_API_KEY")

    corpus = parser.add_argument_group("the corpus")
    corpus.add_argument(
        "--corpus",
        default="docs",
        metavar="C",
        help="docs (the installed documentation), a text file or a folder of .txt and .md files (fewer than ten are "
        "cut into passages, so that every tenth can be held out), a .jsonl, .ndjson, .json, .csv, .tsv or .parquet "
        "file (a document a row; see --column), or a dataset id of the Hub; all but .parquet also as .gz, .bz2 or .zst",
    )
    corpus.add_argument("--column", default=default_text(CorpusSettings, "column"), help="field that holds the text")
    corpus.add_argument("--split", default=default_text(CorpusSettings, "split"), help="split of a Hub dataset")
    corpus.add_argument("--config", help="configuration of a Hub dataset, where it has several")
    corpus.add_argument("--corpus-revision", help="revision of a Hub dataset")
    corpus.add_argument("--documents", type=int, help="read this many documents at most")

    cut = parser.add_argument_group("what is captured")
    cut.add_argument("--layers", required=True, type=parse_layers, help="blocks, from 0, such as 2,4-6 (to 6 included)")
    cut.add_argument("--hook", default="resid", type=parse_hooks, help="resid (default), mlp, attn, or several")
    cut.add_argument(
        "--tokens", type=int, default=default_text(BuildSettings, "tokens"), help="stop after so many tokens"
    )
    cut.add_argument("--context", type=int, default=default_text(WindowSettings, "context"), help="tokens in a window")
    cut.add_argument(
        "--windows", default=default_text(WindowSettings, "windows"), choices=WINDOWS, help="windows a document"
    )
    cut.add_argument("--keep-first", action="store_true", help="capture each window's first token too")
    cut.add_argument(
        "--batch", type=int, default=default_text(BuildSettings, "batch_windows"), help="windows in a pass"
    )
    cut.add_argument("--keep-activations", action="store_true", help="keep the activations in the library, in fp16")
    cut.add_argument("--no-holdout", action="store_true", help="build from every document, and measure on all")

    how = parser.add_argument_group("the dictionary")
    how.add_argument(
        "--l0", type=int, default=default_text(DictionarySettings, "l0"), help="pursuit steps per activation"
    )
    how.add_argument(
        "--threshold",
        type=float,
        default=default_text(DictionarySettings, "threshold"),
        help="error above which an activation becomes an atom, in the unit of --error",
    )
    how.add_argument("--error", default=default_text(DictionarySettings, "error"), choices=ERRORS)
    how.add_argument("--scan", default=default_text(DictionarySettings, "scan"), choices=SCANS)
    how.add_argument("--init", default=default_text(DictionarySettings, "init"), choices=INITS)
    how.add_argument("--method", default=default_text(DictionarySettings, "method"), choices=METHODS, help="of pursuit")
    how.add_argument(
        "--recipe",
        default=default_text(DictionarySettings, "recipe"),
        choices=RECIPES,
        help="which activations become the atoms: published (over the threshold), or as many of them pruned, or random",
    )
    how.add_argument("--max-atoms", type=int, help="stop admitting at this many atoms")


def run_demo(given: argparse.Namespace) -> int:
    """Build the demo library."""
    with command_job(given, "The demo") as job:
        quiet()
        from itda_core.cli.demo import build_demo

        library = Library(given.library)
        ids = build_demo(library, job)
    return print_dictionaries([library.record(i) for i in ids], given.json)


def run_build(given: argparse.Namespace) -> int:
    """Build dictionaries of a model over a corpus."""
    corpus_settings = CorpusSettings(
        given.corpus, given.column, given.split, given.config, given.corpus_revision, given.documents
    )
    cut = WindowSettings(given.context, given.windows, given.keep_first)
    settings = BuildSettings(
        given.layers, given.hook, given.tokens, not given.no_holdout, given.keep_activations, given.batch
    )
    how = DictionarySettings(
        given.l0,
        given.threshold,
        given.error,
        given.scan,
        given.init,
        given.max_atoms,
        given.method,
        given.recipe,
    )
    try:
        how.check_scan()
    except ValueError as error:
        raise UserError(str(error)) from error
    if given.remote and (given.device or given.dtype != "float32"):
        raise UserError("--remote runs the model where it is: leave out --device and --dtype")
    library = Library(given.library)
    with command_job(given, f"Build {given.model} on {given.corpus}") as job:
        quiet()
        from itda_core.build.build import Request, add_maps, build
        from itda_core.corpus.store import ingest

        job.stage(f"reading {given.corpus}", None, "documents")
        corpus = ingest(corpus_settings, cut, library.corpora, job.reached)
        ids = build(
            library,
            Request(given.model, corpus, settings, how, given.revision, given.device, given.dtype, given.remote),
            job,
        )
        add_maps(library, ids, job)
    return print_dictionaries([library.record(i) for i in ids], given.json)
