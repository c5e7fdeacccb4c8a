"""The `itda list`, `rm`, `verify`, `jobs`, `cancel` and `map` commands."""

import argparse
import json
import sys
from collections.abc import Sequence

from itda_core.build.remove import comparisons_of, remove_dictionary, size_of
from itda_core.cli.options import DONE, FAULT, command_job
from itda_core.common.errors import UserError
from itda_core.common.text import one_line
from itda_core.jobs.control import cancel
from itda_core.jobs.read import read_jobs
from itda_core.jobs.state import JobState
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary


def run_list(args: argparse.Namespace) -> int:
    """List the dictionaries."""
    return print_dictionaries(Library(args.library).records(), args.json)


def run_rm(args: argparse.Namespace) -> int:
    """Remove dictionaries, after a question."""
    library = Library(args.library)
    folders = {dictionary_id: library.folder(dictionary_id) for dictionary_id in args.ids}  # or none is removed
    for dictionary_id, folder in folders.items():
        n = len(comparisons_of(library, dictionary_id))
        also = f" and {n} comparison{'s' * (n > 1)} of it" if n else ""
        if not args.yes and not _agreed(f"remove {dictionary_id} ({size_of(folder) / 1e6:,.1f} MB){also}?"):
            print(f"{dictionary_id} stays")
            continue
        remove_dictionary(library, dictionary_id)
        print(f"{dictionary_id} is removed")
    return DONE


def _agreed(question: str) -> bool:
    """Ask a question in the terminal. Raises UserError where there is none to ask in."""
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to confirm in: add --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl+D
        return False


def run_verify(args: argparse.Namespace) -> int:
    """Verify every file of the library."""
    from itda_core.cli.verify import verify_library

    library = Library(args.library)
    if not library.root.exists():
        raise UserError(f"there is no library at {library.root}: name one with --library")
    problems = verify_library(library)
    found = {name: lines for name, lines in problems.items() if lines}
    if args.json:
        print(json.dumps({"checked": list(problems), "problems": found}))
    else:
        for name, lines in found.items():
            print(*(one_line(f"{name}: {line}") for line in lines), sep="\n")
        print(f"{len(problems) - len(found)} of {len(problems)} are as they were built")
    return FAULT if found else DONE


def run_jobs(args: argparse.Namespace) -> int:
    """List the jobs."""
    jobs = read_jobs(args.library)
    if args.json:
        fields = ("id", "title", "status", "stage", "done", "total", "unit", "rate", "started", "error")
        print(json.dumps({"jobs": [{name: getattr(job, name) for name in fields} for job in jobs]}))
        return DONE
    for job in jobs:
        print(_job_line(job))
    if not jobs:
        print("no jobs yet: start one with itda demo or itda build")
    return DONE


def _job_line(job: JobState) -> str:
    """Format a job, which may be untrusted, as one line."""
    parts = [f"{job.id}  {job.status:9}  {job.title}"]
    if job.status == "running":
        of = "" if job.total is None else f" of {job.total:,}"
        parts += [job.stage, f"{job.done:,}{of} {job.unit}" if job.unit else ""]
        parts += [f"{job.rate:,.0f} a second" if job.rate else ""]
    parts += [f"started {job.started}" if job.started else "", job.error or ""]
    return one_line(", ".join(part for part in parts if part))


def run_cancel(args: argparse.Namespace) -> int:
    """Cancel a job."""
    state = cancel(args.library, args.job)
    if state.status == "done":
        print(f"{state.id} was done before it could be cancelled")
    else:
        print(f"{state.id} is cancelled" + (f": {one_line(state.error)}" if state.error else ""))
    return DONE


def run_map(args: argparse.Namespace) -> int:
    """Compute a dictionary's map."""
    library = Library(args.library)
    record = library.record(args.id)
    with command_job(args, f"Map {args.id}") as job:
        from itda_core.build.build import add_maps

        add_maps(library, [record.id], job)
    return DONE


def print_dictionaries(records: Sequence[DictionaryManifest | InvalidDictionary], as_json: bool) -> int:
    """Print dictionaries as a table or as JSON; returns the exit code."""
    sound = [record for record in records if isinstance(record, DictionaryManifest)]
    damaged = [record for record in records if isinstance(record, InvalidDictionary)]
    if as_json:
        print(json.dumps({"dictionaries": [record.summary() for record in sound]}))
    else:
        for record in sound:
            error = record.relative_error
            quality = "no error measured" if error is None else f"relative error {error:.4f}"
            if record.variance_explained is not None:
                quality += f", variance explained {record.variance_explained:.4f}"
            print(f"{record.id}  {record.n_atoms:,} atoms from {record.n_tokens:,} tokens, {quality}")
        if not records:
            print("no dictionaries yet: build some with itda demo, or itda build MODEL")
    for record in damaged:
        print(f"itda: {record.id}: {record.reason}", file=sys.stderr)
    return DONE
