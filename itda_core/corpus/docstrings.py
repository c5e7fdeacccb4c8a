"""Read installed Python documentation as a corpus."""

import ast
import gc
import hashlib
import importlib.util
import os
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from itda_core.common.packages import PACKAGES
from itda_core.common.text import has_half_characters
from itda_core.common.types import Document

MINIMUM_CHARACTERS = 200
_DOCUMENTED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "_test", "idlelib", "lib2to3", "__pycache__"}


def read_documentation() -> Iterator[Document]:
    """Yield the documents of the installed documentation, without exact duplicates.

    Documents are longer than 200 characters. They are ordered by a hash of their text, so that any prefix is a fair
    sample of all packages; the same installed versions give the same documents in the same order.

    Yields:
        Documents named like `numpy.linalg.svd`, or `reference: for` for the language reference.
    """
    yield from _in_order(chain(_language_reference(), _in_files(_docstrings_of_file)))


def read_sources() -> Iterator[Document]:
    """Yield the source code of the documented packages, without docstrings.

    Selected and ordered as in `read_documentation`.

    Yields:
        Top-level functions and classes, named like `numpy.linalg._linalg.svd`.
    """
    yield from _in_order(_in_files(_definitions_of_file))


def _in_order(documents: Iterable[Document]) -> Iterator[Document]:
    by_text: dict[str, str] = {}
    for name, text in documents:
        if len(text) > MINIMUM_CHARACTERS and not has_half_characters(text):
            by_text[text] = min(name, by_text.get(text, name))
    for text in sorted(by_text, key=lambda text: hashlib.blake2b(text.encode(), digest_size=16).digest()):
        yield Document(by_text[text], text)


def _language_reference() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for topic, text in topics.items():
        yield Document(f"reference: {topic}", text.strip())


def _source_files() -> list[tuple[str, str]]:
    """List (module name, path) of the source files that may hold docstrings.

    The order is fixed.
    """
    standard_library = Path(sysconfig.get_paths()["stdlib"])
    roots = [(standard_library, "")]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)  # a top-level package is found without importing it
        if spec is not None and spec.submodule_search_locations:
            roots.append((Path(next(iter(spec.submodule_search_locations))), package))
    found = []
    for root, package in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if _SKIPPED_FOLDERS.isdisjoint(parts):
                module = ".".join(part for part in (package, *parts) if part and part != "__init__")
                found.append((module or package, str(path)))
    return found


def _in_files(read: Callable[[tuple[str, str]], list[Document]]) -> Iterator[Document]:
    # Parsing takes about 15 s of one core, which the user waits for at the first start, so all cores are used.
    # Processes are spawned, never forked: the caller may already run threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_prepare_worker) as pool:
        for documents in pool.map(read, _source_files(), chunksize=64):
            yield from documents


def _prepare_worker() -> None:
    """End a worker process when its parent is killed, and collect no garbage in it.

    It would wait for the parent forever otherwise. Syntax trees have no cycles, and looking for some takes a quarter of
    the time.
    """
    gc.disable()
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _docstrings_of_file(file: tuple[str, str]) -> list[Document]:
    """Extract the docstrings of one source file.

    Empty if it is not valid Python, as in some test and template files.
    """
    module, path = file
    source = Path(path).read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return []
    tree = _parsed(source)
    found: list[Document] = []
    if tree is not None:
        _collect(tree, module, found)
    return found


def _definitions_of_file(file: tuple[str, str]) -> list[Document]:
    """Extract the top-level functions and classes of a source file.

    They are regenerated from the syntax tree without docstrings.
    """
    module, path = file
    tree = _parsed(Path(path).read_bytes())
    found = []
    for node in [] if tree is None else tree.body:
        if isinstance(node, _DOCUMENTED):
            for part in ast.walk(node):
                if isinstance(part, _DOCUMENTED) and ast.get_docstring(part, clean=False) is not None:
                    part.body = part.body[1:] or [ast.Pass()]
            found.append(Document(f"{module}.{node.name}", ast.unparse(node)))
    return found


def _parsed(source: bytes) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in third-party code are irrelevant here
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _collect(node: ast.AST, name: str, found: list[Document]) -> None:
    if isinstance(node, (ast.Module, *_DOCUMENTED)):
        docstring = ast.get_docstring(node)
        if docstring is not None and len(docstring) > MINIMUM_CHARACTERS:
            found.append(Document(name, docstring))
        for child in node.body:
            if isinstance(child, _DOCUMENTED):
                _collect(child, f"{name}.{child.name}", found)
