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
        "path", type=Path, metavar="PATH", help="folder in the published format, from itda export, or of a library"
    )
    _reading_options(parser)


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="dictionary id (see itda list)")
    parser.add_argument("--format", default="published", choices=_FORMATS, help="format to write (default: published)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder to create (default: ID-FORMAT)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    json_option(parser)


def _push_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="dictionary id (see itda list)")
    parser.add_argument("repo", metavar="REPO", help="model repository OWNER/NAME, created if missing")
    parser.add_argument("--private", action="store_true", help="create the repository as private")
    parser.add_argument(
        "--with-text", action="store_true", help="upload the index too, which makes the corpus's texts readable"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files of the same names")
    json_option(parser)


def _pull_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO[@REV]", help="repository made by itda push, and its revision")
    _reading_options(parser)


def _reading_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("to find its sources and activations (both required)")
    group.add_argument("--model", help="folder, GGUF file or Hub id of the model")
    add_options(group, CorpusSettings, ("corpus",), corpus=None)
    more = parser.add_argument_group("where they differ from the dictionary's metadata")
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
        raise UserError(f"--{missing[0]} is missing: --model and --corpus are required together")
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
            f"{found.confirmed:,} of {found.named:,} named sources match the model's activations; the sources of the "
            "other atoms are unknown"
        )
    else:
        print("its sources have no text: pass --model and --corpus to find them, and where it fires")
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
            print("without the texts: itda pull needs --model and --corpus to find its sources", file=sys.stderr)
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
    ("import", "import a dictionary made by another tool", _import_options, _import),
    ("export", "write a dictionary for other tools", _export_options, _export),
    ("push", "upload a dictionary to the Hugging Face Hub", _push_options, _push),
    ("pull", "download a dictionary from the Hugging Face Hub", _pull_options, _pull),
)
"""Name, description, function that adds its options, and function that runs it."""
