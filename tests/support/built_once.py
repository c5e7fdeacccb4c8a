"""Folders that are built once for all workers of a run, and kept for later runs of the same code.

A plugin of all tests. (PYTEST_DONT_REWRITE: nothing is asserted here.)
"""

import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.places import MODEL_A, MODEL_B, REPOSITORY

BuildOnce = Callable[[str, Callable[[Path], object]], Path]
_MADE_OF = (REPOSITORY / "itda_core", REPOSITORY / "tests" / "support", REPOSITORY / "tests" / "conftest.py")


@pytest.fixture(scope="session")
def build_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """`build_once(name, build)` returns a folder of this worker's own with what `build(folder)` writes.

    It is built for the first worker that asks. The others copy that, and so do later runs in this clone until anything
    changes that it is made of; `pytest --cache-clear` forgets it.
    """
    parent = _shared_folder(request.config, tmp_path_factory)
    kept = parent / _fingerprint()
    for earlier in parent.iterdir():
        if earlier != kept:
            shutil.rmtree(earlier, ignore_errors=True)
    kept.mkdir(exist_ok=True)

    def copied(name: str, build: Callable[[Path], object]) -> Path:
        folder, complete = kept / name, kept / f"{name}.complete"
        with FileLock(kept / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                build(folder)
                complete.touch()
        return Path(shutil.copytree(folder, tmp_path_factory.mktemp(name) / name))

    return copied


def _shared_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pytest's cache; of this run, where there is no cache or it cannot be written."""
    try:
        return config.cache.mkdir("libraries")
    except (AttributeError, OSError):
        own = tmp_path_factory.getbasetemp()
        folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "libraries"
        folder.mkdir(exist_ok=True)
        return folder


def _fingerprint() -> str:
    """A hash of all that libraries are made of: code, models, Python, packages."""
    digest = hashlib.sha256(platform.python_version().encode() + platform.machine().encode())
    for package in sorted(f"{each.name} {each.version}" for each in distributions()):
        digest.update(package.encode())
    for place in (*_MADE_OF, MODEL_A, MODEL_B):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
