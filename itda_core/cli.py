"""The `itda` command. What needs torch is imported by the command that needs it."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

from itda_core.benchmarks.commands import BENCHES, add_options, json_option, quiet
from itda_core.config import (
    DTYPES,
    ERRORS,
    INITS,
    METHODS,
    RECIPES,
    SCANS,
    WINDOWS,
    BuildSettings,
    CorpusSettings,
    CutSettings,
    DictionarySettings,
    LayersSettings,
    parse_hooks,
    parse_layers,
)
from itda_core.disk_errors import telling
from itda_core.evaluation.commands import COMMANDS as EVALUATION
from itda_core.interop.commands import COMMANDS as INTEROP
from itda_core.jobs import JOB_VARIABLE, JobState, cancel, fail_unstarted, read_jobs, running_job
from itda_core.library import Damaged, DictionaryRecord, Library
from itda_core.output import printing, say
from itda_core.types import UserError, check_argument, one_line

DONE, FAULT, MISTAKE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
_DICTIONARIES = {"id", "a", "b"}
"""Names of the arguments that are ids of dictionaries."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake."""
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 when done, 2 for a mistake of the user's; a fault raises and exits with 1.

    Where what it prints is read no further, it returns 141 as if the signal for that had ended it.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be told to stop is to be interrupted
    try:
        with printing(), telling():
            given = parse(arguments)
            _check(given)
            with telling(given.library):
                return given.run(given)
    except UserError as error:
        say(f"itda: {error}")
        if job_id := os.environ.get(JOB_VARIABLE):
            with suppress(OSError):  # what was said is in its log
                fail_unstarted(_default_library(), job_id, str(error))
        return MISTAKE
    except KeyboardInterrupt:
        say("itda: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read it has what they wanted, as `head` has
        return BROKEN_PIPE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What a command line asks for, by the names of its options. Raises UserError for one that cannot be."""
    given = _parser().parse_args(arguments)
    for value in vars(given).values():
        if isinstance(value, str | Path):
            check_argument(str(value))
    return given


def _check(given: argparse.Namespace) -> None:
    """Refuse, before any work begins, what can be seen to be no library and no dictionaries of it."""
    if given.library.exists() and not given.library.is_dir():
        raise UserError(f"{given.library} is no folder: name a library's with --library")
    for name in _DICTIONARIES & vars(given).keys():
        Library(given.library).record(getattr(given, name))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="itda", description="Build and inspect ITDA dictionaries of language models.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    demo = _command(commands, "demo", _demo, "build the demo library from what is installed; needs no network")
    json_option(demo)

    build = _command(commands, "build", _build, "build dictionaries of a model over a corpus")
    build.add_argument("model", metavar="MODEL", help="a folder in Hugging Face format, or an id of the Hub")
    _build_options(build)
    json_option(build)

    json_option(_command(commands, "list", _list, "list the dictionaries"))

    verify = _command(commands, "verify", _verify, "check every file against the hash taken when it was built")
    json_option(verify)

    json_option(_command(commands, "jobs", _jobs, "list the jobs, the newest first"))

    cancel_ = _command(commands, "cancel", _cancel, "end a running job")
    cancel_.add_argument("job", metavar="ID", help="a job's id, as itda jobs shows it")

    map_ = _command(commands, "map", _map, "compute the map of a dictionary's atoms")
    map_.add_argument("id", metavar="ID", help="a dictionary's id, as itda list shows it")

    compare = _command(commands, "compare", _compare, "compare two dictionaries by the sources that they chose")
    compare.add_argument("a", metavar="A", help="a dictionary's id, as itda list shows it")
    compare.add_argument("b", metavar="B", help="another's, on the same corpus")
    json_option(compare)

    transplant = _command(commands, "transplant", _transplant, "carry a dictionary over to another's model")
    transplant.add_argument(
        "a", metavar="A", help="a dictionary's id, as itda list shows it: its atoms are carried over"
    )
    transplant.add_argument("b", metavar="B", help="another's, on the same corpus, whose model reads their sources")
    json_option(transplant)

    similarity = _command(commands, "similarity", _similarity, "compare all layers of two dictionaries' models")
    similarity.add_argument("a", metavar="A", help="id of a dictionary of the one model")
    similarity.add_argument("b", metavar="B", help="id of a dictionary of the other, on the same corpus")
    for name, kind, text in (
        ("tokens", int, "tokens that each model reads"),
        ("threshold", float, "relative error above which one of them becomes an atom"),
        ("l0", int, "pursuit steps per activation"),
    ):
        similarity.add_argument(f"--{name}", type=kind, default=_default(LayersSettings, name), help=text)
    json_option(similarity)

    for name, text, options, run in (*EVALUATION, *INTEROP):
        options(_command(commands, name, run, text))

    bench = commands.add_parser(
        "bench", help="measure this machine's speed", description="Measure the README's figures."
    )
    benches = bench.add_subparsers(title="benchmarks", required=True, metavar="BENCHMARK", parser_class=_Parser)
    for name, text, run in BENCHES:
        add_options(name, _command(benches, name, run, text))
    return parser


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument(
        "--library",
        type=Path,
        default=_default_library(),
        metavar="DIR",
        help="the library's folder (default: $ITDA_LIBRARY, or library)",
    )
    return parser


def _default_library() -> Path:
    return Path(os.environ.get("ITDA_LIBRARY") or "library")


def _build_options(parser: argparse.ArgumentParser) -> None:
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
    corpus.add_argument("--column", default=_default(CorpusSettings, "column"), help="field that holds the text")
    corpus.add_argument("--split", default=_default(CorpusSettings, "split"), help="split of a Hub dataset")
    corpus.add_argument("--config", help="configuration of a Hub dataset, where it has several")
    corpus.add_argument("--corpus-revision", help="revision of a Hub dataset")
    corpus.add_argument("--documents", type=int, help="read this many documents at most")

    cut = parser.add_argument_group("what is captured")
    cut.add_argument("--layers", required=True, type=parse_layers, help="blocks, from 0, such as 2,4-6 (to 6 included)")
    cut.add_argument("--hook", default="resid", type=parse_hooks, help="resid (default), mlp, attn, or several")
    cut.add_argument("--tokens", type=int, default=_default(BuildSettings, "tokens"), help="stop after so many tokens")
    cut.add_argument("--context", type=int, default=_default(CutSettings, "context"), help="tokens in a window")
    cut.add_argument("--windows", default=_default(CutSettings, "windows"), choices=WINDOWS, help="windows a document")
    cut.add_argument("--keep-first", action="store_true", help="capture each window's first token too")
    cut.add_argument("--batch", type=int, default=_default(BuildSettings, "batch_windows"), help="windows in a pass")
    cut.add_argument("--keep-activations", action="store_true", help="keep the activations in the library, in fp16")
    cut.add_argument("--no-holdout", action="store_true", help="build from every document, and measure on all")

    how = parser.add_argument_group("the dictionary")
    how.add_argument("--l0", type=int, default=_default(DictionarySettings, "l0"), help="pursuit steps per activation")
    how.add_argument(
        "--threshold",
        type=float,
        default=_default(DictionarySettings, "threshold"),
        help="error above which an activation becomes an atom, in the unit of --error",
    )
    how.add_argument("--error", default=_default(DictionarySettings, "error"), choices=ERRORS)
    how.add_argument("--scan", default=_default(DictionarySettings, "scan"), choices=SCANS)
    how.add_argument("--init", default=_default(DictionarySettings, "init"), choices=INITS)
    how.add_argument("--method", default=_default(DictionarySettings, "method"), choices=METHODS, help="of pursuit")
    how.add_argument(
        "--recipe",
        default=_default(DictionarySettings, "recipe"),
        choices=RECIPES,
        help="which activations become the atoms: published (over the threshold), or as many of them pruned, or random",
    )
    how.add_argument("--max-atoms", type=int, help="stop admitting at this many atoms")


def _default(settings: type, name: str) -> Any:
    return next(field.default for field in fields(settings) if field.name == name)


def _job(given: argparse.Namespace, title: str) -> Any:
    return running_job(given.library, title, os.environ.get(JOB_VARIABLE))


def _demo(given: argparse.Namespace) -> int:
    with _job(given, "The demo") as job:
        quiet()
        from itda_core.demo import build_demo

        library = Library(given.library)
        ids = build_demo(library, job)
    return _print_dictionaries([library.record(i) for i in ids], given.json)


def _build(given: argparse.Namespace) -> int:
    corpus_settings = CorpusSettings(
        given.corpus, given.column, given.split, given.config, given.corpus_revision, given.documents
    )
    cut = CutSettings(given.context, given.windows, given.keep_first)
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
    with _job(given, f"Build {given.model} on {given.corpus}") as job:
        quiet()
        from itda_core.build import Request, add_maps, build
        from itda_core.corpus import ingest

        job.stage(f"reading {given.corpus}", None, "documents")
        corpus = ingest(corpus_settings, cut, library.corpora, job.reached)
        ids = build(
            library,
            Request(given.model, corpus, settings, how, given.revision, given.device, given.dtype, given.remote),
            job,
        )
        add_maps(library, ids, job)
    return _print_dictionaries([library.record(i) for i in ids], given.json)


def _list(given: argparse.Namespace) -> int:
    return _print_dictionaries(Library(given.library).records(), given.json)


def _verify(given: argparse.Namespace) -> int:
    from itda_core.verification import verify_library

    library = Library(given.library)
    if not library.root.exists():
        raise UserError(f"there is no library at {library.root}: name one with --library")
    problems = verify_library(library)
    found = {name: lines for name, lines in problems.items() if lines}
    if given.json:
        print(json.dumps({"checked": list(problems), "problems": found}))
    else:
        for name, lines in found.items():
            print(*(one_line(f"{name}: {line}") for line in lines), sep="\n")
        print(f"{len(problems) - len(found)} of {len(problems)} are as they were built")
    return FAULT if found else DONE


def _jobs(given: argparse.Namespace) -> int:
    jobs = read_jobs(given.library)
    if given.json:
        told = ("id", "title", "status", "stage", "done", "total", "unit", "rate", "started", "error")
        print(json.dumps({"jobs": [{name: getattr(job, name) for name in told} for job in jobs]}))
        return DONE
    for job in jobs:
        print(_job_line(job))
    if not jobs:
        print("no jobs yet: itda demo and itda build run as such")
    return DONE


def _job_line(job: JobState) -> str:
    """A job in one line; what it says of itself may come from a stranger's library."""
    said = [f"{job.id}  {job.status:9}  {job.title}"]
    if job.status == "running":
        of = "" if job.total is None else f" of {job.total:,}"
        said += [job.stage, f"{job.done:,}{of} {job.unit}" if job.unit else ""]
        said += [f"{job.rate:,.0f} a second" if job.rate else ""]
    said += [f"started {job.started}" if job.started else "", job.error or ""]
    return one_line(", ".join(part for part in said if part))


def _cancel(given: argparse.Namespace) -> int:
    state = cancel(given.library, given.job)
    if state.status == "done":
        print(f"{state.id} was done before it could be cancelled")
    else:
        print(f"{state.id} is cancelled" + (f": {one_line(state.error)}" if state.error else ""))
    return DONE


def _map(given: argparse.Namespace) -> int:
    library = Library(given.library)
    record = library.record(given.id)
    with _job(given, f"Map {given.id}") as job:
        from itda_core.build import add_maps

        add_maps(library, [record.id], job)
    return DONE


def _compare(given: argparse.Namespace) -> int:
    from itda_core.comparison import compare

    with _job(given, f"Compare {given.a} with {given.b}") as job:
        found = compare(Library(given.library), given.a, given.b, job)
    if given.json:
        print(json.dumps(asdict(found)))
        return DONE
    where = "token" if found.key == "token" else "character where the token ends"
    low, high = found.interval
    print(
        f"{found.shared:,} atoms have the same source ({where}); {found.only_a:,} only in A, {found.only_b:,} only in B"
    )
    print(
        f"IoU {found.jaccard:.4f} (95 % interval {low:.4f} to {high:.4f}); by chance {found.chance:.4f}, "
        f"among equally frequent tokens {found.chance_frequency:.4f}"
    )
    print(f"of the captured tokens, {found.coverage_a:.1%} of A's and {found.coverage_b:.1%} of B's are on both sides")
    return DONE


def _transplant(given: argparse.Namespace) -> int:
    from itda_core.transplant import transplant

    with _job(given, f"Carry {given.a} over to the model of {given.b}") as job:
        quiet()
        found = transplant(Library(given.library), given.a, given.b, job)
    if given.json:
        print(json.dumps(asdict(found)))
        return DONE
    print(
        f"{found.transplanted:,} of A's {found.atoms:,} atoms have a transplant in B, and {found.silent:,} of these "
        f"never fire; {found.tokens:,} common tokens"
    )
    print(
        "no correlation: there is no atom that fires and whose transplant fires"
        if found.correlation is None
        else f"median correlation {found.correlation:.4f} over {found.compared:,} atoms of which both fire"
    )
    print(
        "no relative error was measured: all common tokens are A's sources"
        if found.relative_error is None
        else f"A's sources decompose B to a relative error of {found.relative_error:.4f}"
    )
    return DONE


def _similarity(given: argparse.Namespace) -> int:
    from itda_core.layers import MEASURES, OLD_REPORT, compare_layers

    settings = LayersSettings(given.tokens, given.threshold, given.l0)
    with _job(given, f"Layers of the models of {given.a} and {given.b}") as job:
        quiet()
        found = compare_layers(Library(given.library), given.a, given.b, job, settings)
    if given.json:
        print(json.dumps(asdict(found)))
        return DONE
    low, high = found.union_interval
    print(
        f"{found.tokens:,} tokens that both read; IoU of all layers together {found.union:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}), by chance {found.union_chance:.4f}"
    )
    for name, rows in found.values.items():
        best = ", ".join(str(max(range(len(row)), key=row.__getitem__)) for row in rows)
        print(f"{MEASURES[name]}: most like layers 0 to {len(rows) - 1} of A are {best} of B")
    for name, why in [*found.cautions.items(), *found.left_out.items()]:
        print(one_line(f"{MEASURES[name]}: {why}"))
    if found.unmeasured:
        print(f"{', '.join(MEASURES[name] for name in found.unmeasured)}: {OLD_REPORT}")
    return DONE


def _print_dictionaries(records: Sequence[DictionaryRecord | Damaged], as_json: bool) -> int:
    sound = [record for record in records if isinstance(record, DictionaryRecord)]
    damaged = [record for record in records if isinstance(record, Damaged)]
    if as_json:
        print(json.dumps({"dictionaries": [record.summary() for record in sound]}))
    else:
        for record in sound:
            error = record.relative_error
            told = "no error measured" if error is None else f"relative error {error:.4f}"
            print(f"{record.id}  {record.n_atoms:,} atoms from {record.n_tokens:,} tokens, {told}")
        if not records:
            print("no dictionaries yet: build some with itda demo, or itda build MODEL")
    for record in damaged:
        print(f"itda: {record.id}: {record.reason}", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
