"""Pages of dictionaries that were imported: with sources that are not known, and with no text at all."""

from pathlib import Path

import pytest
import torch

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.common.types import Document
from itda_core.index.schema import UNKNOWN_SOURCE
from itda_core.library.library import Library
from tests.support.corpora import write_documents
from tests.support.page_fixtures import OpenPage
from tests.support.places import MODEL_A
from tests.support.shown_pages import passages, shown

FEW = ["--tokens", "1500", "--max-atoms", "40"]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> tuple[Path, str, str]:
    """A library, and in it a dictionary of which two sources are not known, and one without a text."""
    base = tmp_path_factory.mktemp("imported")
    texts = base / "reference.jsonl"
    write_documents(texts, language_reference[:40])
    build = ["build", str(MODEL_A), "--corpus", str(texts), "--layers", "3", "--l0", "6", *FEW]
    assert main([*build, "--library", str(base / "library")]) == 0
    library = Library(base / "library")
    (built,) = library.ids()
    folder = base / "run"
    assert main(["export", built, "--to", str(folder), "--library", str(library.root)]) == 0
    sources = Dictionary.load(library.folder(built)).sources
    sources[:2] = torch.tensor([-1, -1])
    torch.save(sources, folder / "atom_indices.pt")
    whole = ["--model", str(MODEL_A), "--corpus", str(texts), *FEW[:2]]
    assert main(["import", str(folder), "--library", str(library.root), *whole]) == 0
    (read,) = set(library.ids()) - {built}
    assert main(["import", str(folder), "--library", str(library.root)]) == 0
    (alone,) = set(library.ids()) - {built, read}
    return library.root, read, alone


def test_the_library_lists_them(open_page: OpenPage, imported: tuple[Path, str, str]) -> None:
    page = open_page(imported[0])
    assert not page.exception and not page.error
    assert len(passages(page)) >= 3


def test_an_atom_without_a_source_says_so(open_page: OpenPage, imported: tuple[Path, str, str]) -> None:
    root, read, _ = imported
    page = open_page(root, "/atom", d=read, a="1")
    assert not page.exception and not page.error
    text = shown(page)
    assert "It is not known which text this atom came from." in text
    assert "Its source is not known, so it has no label." in text
    assert "Top examples" in text  # where it fires is known
    known = open_page(root, "/atom", d=read, a="2")
    assert not known.exception and "It is not known which text" not in shown(known)


def test_atoms_are_listed_with_and_without_a_text(open_page: OpenPage, imported: tuple[Path, str, str]) -> None:
    root, read, alone = imported
    page = open_page(root, "/atoms", d=read)
    assert not page.exception and not page.error
    assert sum(UNKNOWN_SOURCE in passage for passage in passages(page)) == 2
    page = open_page(root, "/atoms", d=alone)
    assert not page.exception and not page.error
    assert "40 atoms, imported without a text" in shown(page)
    assert sum(UNKNOWN_SOURCE in passage for passage in passages(page)) == 40


def test_an_atom_without_any_text_has_its_nearest(open_page: OpenPage, imported: tuple[Path, str, str]) -> None:
    root, _, alone = imported
    page = open_page(root, "/atom", d=alone, a="0", tab="relatives")
    assert not page.exception and not page.error
    assert "Nearest" in shown(page)
    assert "0 tokens" in shown(open_page(root, "/atom", d=alone, a="0", tab="range"))


def test_they_decompose_and_compare_or_say_why_not(open_page: OpenPage, imported: tuple[Path, str, str]) -> None:
    root, read, alone = imported
    (built,) = set(Library(root).ids()) - {read, alone}
    page = open_page(root, "/decompose", d=read, text="for name in names: print(name)", token="3")
    assert not page.exception and not page.error
    page = open_page(root, "/decompose", d=alone, text="for name in names")
    assert not page.exception and "was imported without its model" in "".join(error.value for error in page.error)
    page = open_page(root, "/compare", d=built, e=read)
    assert not page.exception and not page.error
    page = open_page(root, "/compare", d=built, e=alone)
    assert not page.exception and "was imported without its corpus" in shown(page)
    page = open_page(root, "/similarity")
    assert not page.exception


def test_how_good_they_are_is_measured_where_there_is_a_text(
    open_page: OpenPage, imported: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    root, read, alone = imported
    assert main(["measure", read, "--tokens", "60", "--library", str(root)]) == 0
    page = open_page(root, "/quality", d=read)
    assert not page.exception and not page.error
    capsys.readouterr()
    for command in (["measure", alone], ["probe", alone]):
        assert main([*command, "--library", str(root)]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("itda: ") and "was imported without its model" in said
    page = open_page(root, "/quality", d=alone)
    assert not page.exception and not page.error
