"""The demo corpus: the installed documentation, read without running a line of it."""

import hashlib
import sys

import pytest

from itda_core.common.packages import PACKAGES
from itda_core.corpus import docstrings
from itda_core.corpus.docstrings import MINIMUM_CHARACTERS, read_documentation

pytestmark = pytest.mark.slow

LONG = "All work and no play makes the test a dull page. " * 6


@pytest.fixture(scope="module")
def documents():
    return list(read_documentation())


@pytest.fixture
def only(monkeypatch):
    """Leaves of all source files and of the language reference only what a test writes."""

    def leave(*sources):
        monkeypatch.setattr(docstrings, "_source_files", lambda: [(path.stem, str(path)) for path in sources])
        monkeypatch.setattr(docstrings, "_language_reference", lambda: iter(()))
        return list(read_documentation())

    return leave


def order(text):
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def test_there_is_documentation_of_the_language_and_of_every_package(documents):
    first_words = {document.name.split(".")[0].split(":")[0] for document in documents}
    assert {"reference", "json", *PACKAGES} <= first_words
    assert "numpy.linalg._linalg.svd" in {document.name for document in documents}
    assert sum(len(document.text) for document in documents) > 5_000_000


def test_no_document_is_short(documents):
    assert min(len(document.text) for document in documents) > MINIMUM_CHARACTERS == 200


def test_no_text_is_there_twice(documents):
    assert len({document.text for document in documents}) == len(documents)


def test_the_order_is_that_of_a_hash_of_the_text(documents):
    hashes = [order(document.text) for document in documents]
    assert hashes == sorted(hashes)


def test_the_order_does_not_depend_on_the_order_of_files(tmp_path, only):
    sources = []
    for number in range(20):
        sources.append(tmp_path / f"module_{number}.py")
        sources[-1].write_text(f'"""{LONG} {number % 15}"""\n')
    forwards, backwards = only(*sources), only(*reversed(sources))
    assert forwards == backwards and len(forwards) == 15
    # A text that several modules share is named after the first of them in alphabetical order.
    assert {document.name for document in forwards if document.text.endswith(" 3")} == {"module_18"}


def test_no_code_of_a_source_file_is_executed(tmp_path, only):
    mark = tmp_path / "executed"
    source = tmp_path / "trap.py"
    execute = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    source.write_text(
        f'"""{LONG}"""\n{execute}\nclass A({execute} or object):\n    """{LONG} of A"""\n    {execute}\n'
        f'    @({execute} or staticmethod)\n    def f(x={execute}):\n        """{LONG} of f"""\n'
    )
    assert sorted(document.name for document in only(source)) == ["trap", "trap.A", "trap.A.f"]
    assert not mark.exists() and "trap" not in sys.modules
    exec(source.read_text(), {"__name__": "trap"})
    assert mark.exists(), "the trap itself does not work"


def test_files_that_are_not_python_are_passed_over(tmp_path, only):
    sources = [tmp_path / name for name in ("good.py", "template.py", "nul.py", "latin.py")]
    sources[0].write_text(f'async def f():\n    """{LONG}"""\n')
    sources[1].write_text('"""{{ project }}"""\nclass {{ name }}:\n')
    sources[2].write_bytes(b'"""\0"""')
    sources[3].write_bytes(b'"""\xff"""')
    assert [document.name for document in only(*sources)] == ["good.f"]


def test_short_docstrings_are_left_out(tmp_path, only):
    source = tmp_path / "lengths.py"
    source.write_text(f'def at():\n    """{"x" * 200}"""\ndef over():\n    """{"x" * 201}"""\n')
    assert [document.name for document in only(source)] == ["lengths.over"]
