"""Reading a library that is closed to the reader: as another user where it is root, who ignores modes."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_DROP = """
import os
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@contextmanager
def open_copy(root: Path) -> Iterator[Path]:
    """A copy of a library that every user may read: pytest keeps its own folders closed."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copytree(root, Path(folder) / root.name))


@contextmanager
def closed(*paths: Path) -> Iterator[None]:
    """Close files and folders of a library to others, and nothing else of it, for as long as the body runs."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def run_as_other(before: str, after: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as one whom modes bind: `before` as this user, to import what lies where others may not read."""
    code = f"import sys\nsys.path[:0] = {sys.path!r}\n{before}\n{_DROP}\n{after}"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
