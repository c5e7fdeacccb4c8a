"""The `itda import`, `export`, `push` and `pull` commands."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from itda_core.cli.options import command_job, json_option, quiet
from itda_core.common.errors import UserError
from itda_core.common.options import add_options, settings_from
from itda_core.common.settings import BuildSettings, CorpusSettings, ModelSettings, WindowSettings
from itda_core.library.library import Library

_FORMATS = ("published", "parquet", "safetensors", "saelens")
_READING = ("model", "corpus")


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a folder: the published format, or what itda export or a library has"
    )
    _reading_options(parser)


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a dictionary's id, as itda list shows it")
    parser.add_argument("--format", default="published", choices=_FORMATS, help="what reads it (default: published)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="the folder to make (default: ID-FORMAT)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export that lies there")
    json_option(parser)


def _push_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="a dictionary's id, as itda list shows it")
    parser.add_argument("repo", metavar="REPO", help="a model repository, OWNER/NAME; made where there is none")
    parser.add_argument("--private", action="store_true", help="make it private, where it is made")
    parser.add_argument(
        "--with-text", action="store_true", help="send the index too, which holds the corpus's texts, for all to read"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what else the repository holds of these names"
    )
    json_option(parser)


def _pull_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO[@REV]", help="a repository that itda push made, and its revision")
    _reading_options(parser)


def _reading_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("to know its sources and where it fires, both of")
    group.add_argument("--model", help="folder or GGUF file of the model, or its id on the Hub")
    add_options(group, CorpusSettings, ("corpus",), corpus=None)
    more = parser.add_argument_group("and where they differ from what the dictionary states")
    add_options(more, ModelSettings, ("revision", "device", "dtype"))
    add_options(more, CorpusSettings, ("column", "split", "config", "corpus_revision", "documents"))
    add_options(more, BuildSettings, ("tokens",))
    add_options(more, WindowSettings, ("context", "keep_first"), context=None)
    json_option(parser)


def _reading(args: argparse.Namespace) -> Any:
    """Return how to encode an imported dictionary; None without a model and a corpus."""
    missing = [name for name in _READING if getattr(args, name) is None]
    if len(missing) == len(_READING):
        return None
    if missing:
        raise UserError(f"--{missing[0]} is missing: to read a text with it takes both --model and --corpus")
    from itda_core.interop.encode import Reading

    return Reading(
        args.model,
        settings_from(CorpusSettings, args),
        args.context,
        args.keep_first,
        args.tokens,
        revision=args.revision,
        device=args.device,
        dtype=args.dtype,
    )


def _import(args: argparse.Namespace) -> int:
    reading = _reading(args)
    with command_job(args, f"Import {args.path.name}") as job:
        quiet()
        from itda_core.interop.importer import import_folder

        found = import_folder(Library(args.library), args.path, reading, job)
    return _report_import(args, found)


def _report_import(args: argparse.Namespace, found: Any) -> int:
    if args.json:
        print(json.dumps(found._asdict()))
        return 0
    print(f"{found.id}  {found.atoms:,} atoms")
    record = Library(args.library).record(found.id)
    if record.has_text:
        print(
            f"of {found.named:,} atoms with a source named, {found.confirmed:,} are the model's activation at it; the "
            "source of the others is not known here"
        )
    else:
        print("its sources are numbers without a text: give --model and --corpus to know them, and where it fires")
    return 0


def _export(args: argparse.Namespace) -> int:
    folder = args.to or Path(f"{args.id}-{args.format}")
    with command_job(args, f"Export {args.id} as {args.format}") as job:
        from itda_core.interop.exporter import export

        job.stage(f"writing {folder.name}", unit="")
        done = export(Library(args.library), args.id, args.format, folder, args.overwrite)
    if args.json:
        print(json.dumps(done._asdict()))
    else:
        print(f"{done.folder}: " + ", ".join(f"{name} ({size:,} bytes)" for name, size in done.files.items()))
    return 0


def _push(args: argparse.Namespace) -> int:
    with command_job(args, f"Push {args.id} to {args.repo}") as job:
        quiet()
        from itda_core.interop.hub import push

        done = push(Library(args.library), args.id, args.repo, args.private, args.with_text, args.overwrite, job)
    if args.json:
        print(json.dumps(done._asdict()))
    else:
        print(f"{done.address}: {', '.join(done.files)}")
        if not args.with_text:
            print("without the texts: who pulls it gives --model and --corpus to know its sources", file=sys.stderr)
    return 0


def _pull(args: argparse.Namespace) -> int:
    reading = _reading(args)
    repo, _, revision = args.repo.partition("@")
    with command_job(args, f"Pull {args.repo}") as job:
        quiet()
        from itda_core.interop.hub import pull

        found = pull(Library(args.library), repo, revision or None, reading, job)
    return _report_import(args, found)


COMMANDS: tuple[
    tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]], ...
] = (
    ("import", "bring in a dictionary that another tool made", _import_options, _import),
    ("export", "write a dictionary for other tools", _export_options, _export),
    ("push", "put a dictionary on the Hugging Face Hub", _push_options, _push),
    ("pull", "fetch a dictionary from the Hugging Face Hub", _pull_options, _pull),
)
"""Name, what it does, what gives its parser its options, and what runs it."""
