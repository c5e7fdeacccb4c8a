"""What a source's position counts: atoms of the special tokens before a text keep their place in every format."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, processors

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.common.layout import ATOMS_FILE, MANIFEST_FILE
from itda_core.interop.exporter import export
from itda_core.interop.importer import read_any
from itda_core.interop.saelens import ItdaSae, from_external
from itda_core.library.library import Library
from tests.support.places import MODEL_A

INDICES = torch.tensor([[0, 0], [0, 1], [-1, -1], [3, 5]])
"""As the published format counts: the first is of the token that begins a text."""
OWN = torch.tensor([[0, -1], [0, 0], [-1, -1], [3, 4]])
"""The same, counted among a document's own tokens."""
ATOMS = torch.nn.functional.normalize(torch.randn(4, 192, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer puts a token before a text."""
    model = Path(shutil.copytree(MODEL_A, tmp_path_factory.mktemp("model") / "begun"))
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    name = tokenizer.id_to_token(0)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{name} $A", special_tokens=[(name, 0)])
    tokenizer.save(str(model / "tokenizer.json"))
    return model


@pytest.fixture(scope="module")
def read(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that read a dictionary with that model."""
    texts = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"text {n} of a few words, no more"}) + "\n" for n in range(20)))
    return ["--model", str(begun), "--corpus", str(texts), "--tokens", "100"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "run"
    folder.mkdir()
    torch.save(ATOMS, folder / "atoms.pt")
    torch.save(INDICES, folder / "atom_indices.pt")
    said = {"layer": 3, "lm_name": "begun", "k": 6, "loss_threshold": 0.005, "dataset": "some/texts", "seq_len": 65}
    (folder / "metadata.yaml").write_text(yaml.dump(said))
    return folder


@pytest.fixture(scope="module")
def with_model(published: Path, read: list[str], tmp_path_factory: pytest.TempPathFactory) -> Library:
    return bring(published, tmp_path_factory.mktemp("read") / "library", *read)


@pytest.fixture(scope="module")
def alone(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    return bring(published, tmp_path_factory.mktemp("alone") / "library")


def bring(folder: Path, root: Path, *more: str) -> Library:
    assert main(["import", str(folder), "--library", str(root), *more]) == 0
    return Library(root)


def atoms_of(library: Library) -> Dictionary:
    (dictionary_id,) = library.ids()
    return Dictionary.load(library.folder(dictionary_id))


def written(library: Library, form: str, to: Path) -> Path:
    (dictionary_id,) = library.ids()
    export(library, dictionary_id, form, to)
    return to


def indices(folder: Path) -> torch.Tensor:
    return torch.load(folder / "atom_indices.pt", weights_only=True)


def seq_len(folder: Path) -> int:
    return yaml.safe_load((folder / "metadata.yaml").read_text())["seq_len"]


def moved_folder(library: Library, to: Path) -> Path:
    """The manifest and the atoms without an index, as a repository has them without the texts."""
    to.mkdir()
    for name in (MANIFEST_FILE, ATOMS_FILE):
        shutil.copy(library.folder(library.ids()[0]) / name, to)
    return to


def in_form(library: Library, form: str, to: Path) -> Path:
    """The one dictionary of a library as a folder: as it lies there, without its index, or written in a format."""
    if form == "whole":
        return library.folder(library.ids()[0])
    return moved_folder(library, to) if form == "library" else written(library, form, to)


@pytest.mark.parametrize("form", ["published", "parquet", "safetensors", "library", "whole"])
def test_read_with_its_model_each_format_brings_it_back(form: str, with_model: Library, tmp_path: Path) -> None:
    assert torch.equal(atoms_of(with_model).sources, OWN) and torch.equal(atoms_of(with_model).atoms, ATOMS)
    folder = in_form(with_model, form, tmp_path / form)
    again = bring(folder, tmp_path / "again")
    assert torch.equal(atoms_of(again).sources, INDICES if form == "published" else OWN)
    assert torch.equal(atoms_of(again).atoms, ATOMS)
    back = written(again, "published", tmp_path / "back")
    assert torch.equal(indices(back), INDICES)
    assert seq_len(back) == 65


@pytest.mark.parametrize("form", ["parquet", "safetensors", "library", "whole"])
def test_brought_in_alone_it_can_be_read_with_its_model_later(
    form: str, alone: Library, read: list[str], tmp_path: Path
) -> None:
    assert torch.equal(atoms_of(alone).sources, INDICES)
    folder = in_form(alone, form, tmp_path / form)
    again = bring(folder, tmp_path / "again", *read)
    assert torch.equal(atoms_of(again).sources, OWN)
    assert again.record(again.ids()[0]).cut.context == 64
    assert torch.equal(indices(written(again, "published", tmp_path / "back")), INDICES)
    kept = bring(folder, tmp_path / "kept")
    assert torch.equal(indices(written(kept, "published", tmp_path / "kept-back")), INDICES)
    assert seq_len(tmp_path / "kept-back") == 65


def test_another_tokenizer_has_no_place_for_them(
    with_model: Library, read: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(with_model, "parquet", tmp_path / "out")
    other = ["--model", str(MODEL_A), *read[2:]]
    assert main(["import", str(folder), "--library", str(tmp_path / "b"), *other]) == 2
    assert "its sources count more special tokens before a text than docs-a has" in capsys.readouterr().err
    assert Library(tmp_path / "b").ids() == []


def test_code_for_saes_is_told_of_the_token_that_begins_a_text(with_model: Library, tmp_path: Path) -> None:
    record = with_model.record(with_model.ids()[0])
    assert (record.prefix, record.cut.context) == (1, 64)
    sae = ItdaSae.of(record, atoms_of(with_model))
    foreign = from_external(read_any(written(with_model, "parquet", tmp_path / "parquet"))[1])
    for each in (sae, foreign):
        assert (each.cfg.context_size, each.cfg.prepend_bos) == (65, True)
    said = json.loads((written(with_model, "saelens", tmp_path / "sae") / "cfg.json").read_text())["metadata"]
    assert (said["context_size"], said["prepend_bos"]) == (65, True)
