"""Parse the command line and run a command, importing only what it needs."""

import argparse
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from itda_core.cli.bench import BENCHES, bench_options
from itda_core.cli.build import build_options, demo_options, run_build, run_demo
from itda_core.cli.compare import run_compare, run_similarity, run_transplant
from itda_core.cli.evaluate import COMMANDS as EVALUATION
from itda_core.cli.interop import COMMANDS as INTEROP
from itda_core.cli.library import run_cancel, run_jobs, run_list, run_map, run_rm, run_verify
from itda_core.cli.options import BROKEN_PIPE, INTERRUPTED, MISTAKE, json_option
from itda_core.cli.output import printing, say
from itda_core.common.disk_errors import translated_disk_errors
from itda_core.common.errors import UserError, check_argument
from itda_core.common.machine import wait_passively
from itda_core.common.options import add_options
from itda_core.common.settings import LayersSettings
from itda_core.jobs.control import fail_unstarted
from itda_core.jobs.job import JOB_VARIABLE
from itda_core.library.library import Library

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
    wait_passively()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM interrupts, as Ctrl+C does
    try:
        with printing(), translated_disk_errors():
            args = parse(arguments)
            _check(args)
            with translated_disk_errors(args.library):
                return args.run(args)
    except UserError as error:
        say(f"itda: {error}")
        if job_id := os.environ.get(JOB_VARIABLE):
            with suppress(OSError):  # the job's log has the message
                fail_unstarted(_default_library(), job_id, str(error))
        return MISTAKE
    except KeyboardInterrupt:
        say("itda: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read it has what they wanted, as `head` has
        return BROKEN_PIPE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line. Raises UserError for values that cannot be."""
    args = _parser().parse_args(arguments)
    for value in vars(args).values():
        if isinstance(value, str | Path):
            check_argument(str(value))
    return args


def _check(args: argparse.Namespace) -> None:
    """Refuse, before any work begins, what can be seen to be no library and no dictionaries of it."""
    if args.library.exists() and not args.library.is_dir():
        raise UserError(f"{args.library} is no folder: name a library's with --library")
    for name in _DICTIONARIES & vars(args).keys():
        Library(args.library).record(getattr(args, name))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="itda", description="Build and inspect ITDA dictionaries of language models.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    demo = _command(commands, "demo", run_demo, "build the demo library; needs no network")
    demo_options(demo)
    json_option(demo)

    build = _command(commands, "build", run_build, "build dictionaries of a model over a corpus")
    build.add_argument("model", metavar="MODEL", help="folder in Hugging Face format, GGUF file, or Hub id")
    build_options(build)
    json_option(build)

    json_option(_command(commands, "list", run_list, "list the dictionaries"))

    rm = _command(commands, "rm", run_rm, "remove dictionaries and their comparisons")
    rm.add_argument("ids", nargs="+", metavar="ID", help="dictionary id (see itda list)")
    rm.add_argument("--yes", action="store_true", help="remove without a question")

    verify = _command(commands, "verify", run_verify, "check every file against its recorded hash")
    json_option(verify)

    json_option(_command(commands, "jobs", run_jobs, "list the jobs, newest first"))

    cancel_ = _command(commands, "cancel", run_cancel, "end a running job")
    cancel_.add_argument("job", metavar="ID", help="job id (see itda jobs)")

    map_ = _command(commands, "map", run_map, "compute the map of a dictionary's atoms")
    map_.add_argument("id", metavar="ID", help="dictionary id (see itda list)")

    compare = _command(commands, "compare", run_compare, "compare the sources of two dictionaries")
    compare.add_argument("a", metavar="A", help="dictionary id (see itda list)")
    compare.add_argument("b", metavar="B", help="id of another one on the same corpus")
    json_option(compare)

    transplant = _command(
        commands, "transplant", run_transplant, "transplant a dictionary's atoms to another dictionary's model"
    )
    transplant.add_argument("a", metavar="A", help="id of the dictionary whose atoms are transplanted")
    transplant.add_argument(
        "b", metavar="B", help="id of another one on the same corpus, whose model reads their sources"
    )
    json_option(transplant)

    similarity = _command(commands, "similarity", run_similarity, "compare all layers of two dictionaries' models")
    similarity.add_argument("a", metavar="A", help="id of a dictionary of the first model")
    similarity.add_argument("b", metavar="B", help="id of a dictionary of the second model, on the same corpus")
    add_options(similarity, LayersSettings)
    json_option(similarity)

    for name, text, options, run in (*EVALUATION, *INTEROP):
        options(_command(commands, name, run, text))

    bench = commands.add_parser("bench", help="run benchmarks", description="Run the benchmarks behind data/results/.")
    benches = bench.add_subparsers(title="benchmarks", required=True, metavar="BENCHMARK", parser_class=_Parser)
    for name, text, run in BENCHES:
        bench_options(name, _command(benches, name, run, text))
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
