"""A small disk that can be filled to the byte at any moment of a command that runs in this process."""

import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class SmallDisk:
    """A file system in memory, mounted at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def fill(self, free: int) -> None:
        """Leave so many bytes free."""
        self.relieve()
        found = os.statvfs(self.root)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - free)

    def relieve(self) -> None:
        """Free what was filled."""
        self._filler.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all there is."""
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def filled_at(self, stage: str, free: int) -> Iterator[None]:
        """Fill it when the function `module:name` is first called; at once where the name is empty."""
        if not stage:
            self.fill(free)
            yield
        else:
            module, name = stage.split(":")
            *inside, last = name.split(".")
            where: Any = importlib.import_module(module)
            for part in inside:
                where = getattr(where, part)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(where, last, self._filling(where, last, free))
                yield
        self.relieve()

    def _filling(self, where: Any, last: str, free: int) -> Any:
        original: Callable[..., Any] = getattr(where, last)
        waiting = [free]

        def filling(*arguments: Any, **named: Any) -> Any:
            if waiting:
                self.fill(waiting.pop())
            return original(*arguments, **named)

        return staticmethod(filling) if isinstance(vars(where)[last], classmethod) else filling


@contextmanager
def small_disk(root: Path, size: str) -> Iterator[SmallDisk]:
    """Mount one; a test that may not is skipped."""
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
