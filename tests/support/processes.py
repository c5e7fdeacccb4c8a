"""Processes of Python that are forked from one that has imported what takes long: torch above all.

In all else they are processes of their own: they have their own environment, output and exit status, can be killed, and
import the project themselves. What reads the environment when it is imported, as huggingface_hub does, is not in them
yet. They are for tests of what a command does; those of how one starts run `python -m itda_core.cli`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

_COMMAND = "import sys; from itda_core.cli.command_line import main; sys.exit(main())"

_forked = get_context("forkserver")
_forked.set_forkserver_preload(
    [
        "duckdb", "httpx", "numba", "pandas", "pyarrow.parquet", "pydantic", "safetensors.torch", "scipy.optimize",
        "scipy.sparse", "torch", "tqdm",
        "torch._dynamo", "torch.distributed.tensor",  # most of what transformers imports
    ]
)  # fmt: skip


def run_itda(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `itda` with these arguments."""
    return run_python(_COMMAND, *arguments, env=env)


def run_python(program: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program as `python -c` does, in the environment of this process unless another is given."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start_python(program, *arguments, env=env, out=out, err=err)
        process.join()
        assert process.exitcode is not None
        texts = (path.read_text() if path.exists() else "" for path in (out, err))
        return subprocess.CompletedProcess([program, *arguments], process.exitcode, *texts)


def start_python(
    program: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    out: Path = Path(os.devnull),
    err: Path = Path(os.devnull),
) -> BaseProcess:
    """Start a program as `run_python` does, and do not wait for its end."""
    environment = dict(os.environ if env is None else env)
    process = _forked.Process(target=_run, args=(program, arguments, environment, out, err))
    process.start()
    return process


def _run(program: str, arguments: tuple[str, ...], environment: dict[str, str], out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = ["-c", *arguments]
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
