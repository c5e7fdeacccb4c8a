"""Keep the models of GGUF files, converted once, in the user's cache folder; no torch until one is converted.

The cache has a folder for each file, named by the SHA-256 of its bytes and the version of the conversion, and in it one
for each name that such a file had, since a model is called by its file.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from itda_core.common.disk_errors import translated_disk_errors
from itda_core.common.errors import UserError
from itda_core.common.files import place_folder, sha256_of, unreadable
from itda_core.common.parts import clear_parts, part_beside
from itda_core.models.gguf_header import gguf_name, read_gguf_header
from itda_core.models.hub import weight_files

CACHE_VARIABLE = "ITDA_CACHE"
"""Environment variable that names the cache folder, in place of `itda` in the user's."""
_CONVERSION = 1  # another number converts every file again
_LOCK = ".lock"

Say = Callable[[str], object]
"""Function that receives a progress message."""


def say_on_stderr(line: str) -> None:
    """Print a line on stderr, beside a progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def converted_gguf(path: Path, say: Say = say_on_stderr) -> Path:
    """Return the folder in Hugging Face format of a GGUF file, which the first call converts.

    Of several processes one converts, and the others wait for it.

    Args:
        path: the file.
        say: called before the conversion, which takes half a minute for a small model.

    Raises:
        UserError: the file is missing, damaged or of an unknown architecture, or the cache cannot be written.
    """
    name = gguf_name(path)
    read_gguf_header(path)
    digest = _digest(path)
    root = _root()
    kept = root / f"{digest}-{_CONVERSION}"
    folder = kept / name
    if _is_whole(folder):
        return folder
    with translated_disk_errors(root), _alone(root, say):
        clear_parts(root)
        if _is_whole(folder):  # another process converted it meanwhile
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        with part_beside(kept, Path.mkdir) as part:
            if known := next(filter(_is_whole, _folders(kept)), None):  # the same bytes under another name
                shutil.copytree(known, part, dirs_exist_ok=True)
            else:
                from itda_core.models.gguf_conversion import convert_gguf

                say(f"converting {path.name}, once: it is kept in {root}")
                convert_gguf(path, part)
                if _digest(path) != digest:
                    raise UserError(f"{path.name} was changed while it was read: try again when it is complete")
            kept.mkdir(exist_ok=True)
            place_folder(part, folder)
    return folder


def converted_models(name: str) -> list[Path]:
    """Return the folders of the cache that hold a model of this name."""
    return [folder for kept in _folders(_root()) if _is_whole(folder := kept / name)]


def _root() -> Path:
    """Return the folder of the converted models, which may be missing.

    Raises UserError for a user without a home.
    """
    try:
        if named := os.environ.get(CACHE_VARIABLE):
            return Path(named).expanduser().absolute() / "gguf"
        shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = shared if shared.is_absolute() else Path.home() / ".cache"  # the standard has a relative one ignored
    except RuntimeError as error:
        raise UserError(f"there is no home folder to keep a cache in: name a folder in {CACHE_VARIABLE}") from error
    return base / "itda" / "gguf"


@contextmanager
def _alone(root: Path, say: Say) -> Iterator[None]:
    """Hold the lock of the cache: one model is converted at a time, which takes much memory."""
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another process converts a model: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _is_whole(folder: Path) -> bool:
    """Return whether a folder has what a model is loaded from; some of it may have been deleted."""
    try:
        names = ("config.json", "tokenizer.json", *weight_files(folder))
        return all((folder / name).is_file() for name in names)
    except (OSError, UserError):  # may not be read, or its index is damaged
        return False


def _folders(folder: Path) -> list[Path]:
    """List the subfolders of a folder except hidden ones, which are being written."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
