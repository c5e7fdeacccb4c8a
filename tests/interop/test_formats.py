"""Dictionaries to and from other tools: each format there and back, and what is no dictionary refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import Tokenizer, processors

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.common.errors import UserError
from itda_core.common.types import Document, Site
from itda_core.index.schema import UNKNOWN_SOURCE
from itda_core.interop.formats import parquet, safetensors
from itda_core.interop.formats.published import read_published
from itda_core.interop.importer import read_any, report_of
from itda_core.interop.saelens import ItdaSae, hook_name
from itda_core.library.library import Library
from itda_core.queries.atoms import Index
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A

FEW = ["--tokens", "1500", "--l0", "6", "--threshold", "0.25", "--max-atoms", "60"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Path:
    path = tmp_path_factory.mktemp("texts") / "reference.jsonl"
    write_documents(path, language_reference[:40])
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Library:
    """A library with one dictionary of 60 atoms."""
    root = tmp_path_factory.mktemp("small") / "library"
    build = ["build", str(MODEL_A), "--corpus", str(texts), "--layers", "3", *FEW]
    assert main([*build, "--library", str(root), "--json"]) == 0
    return Library(root)


@pytest.fixture(scope="module")
def original(small: Library) -> Dictionary:
    return Dictionary.load(small.folder(small.ids()[0]))


Export = Callable[..., Path]


@pytest.fixture
def export(small: Library, tmp_path: Path) -> Export:
    def run(form: str, library: Library = small, name: str = "") -> Path:
        folder = tmp_path / f"{name or form}"
        (dictionary_id,) = library.ids()
        assert (
            main(["export", dictionary_id, "--format", form, "--to", str(folder), "--library", str(library.root)]) == 0
        )
        return folder

    return run


def bring(folder: Path, root: Path, *more: str) -> Library:
    assert main(["import", str(folder), "--library", str(root), *more]) == 0
    return Library(root)


def assert_same(a: Dictionary, b: Dictionary) -> None:
    assert torch.equal(a.atoms, b.atoms)
    assert torch.equal(a.sources, b.sources)
    assert a.settings == b.settings


def all_codes(library: Library) -> list:
    index = Index(library.index_path(library.ids()[0]))
    codes = index.codes(0, index.n_read)
    index.close()
    return codes.to_dict("list")


# The published format


def test_the_published_format_there_and_back_is_the_same_to_the_bit(
    original: Dictionary, export: Export, tmp_path: Path
) -> None:
    first = export("published")
    assert sorted(path.name for path in first.iterdir()) == ["atom_indices.pt", "atoms.pt", "metadata.yaml"]
    atoms = torch.load(first / "atoms.pt", weights_only=True)
    indices = torch.load(first / "atom_indices.pt", weights_only=True)
    assert (atoms.dtype, indices.dtype) == (torch.float32, torch.int64)
    assert torch.equal(atoms, original.atoms) and torch.equal(indices, original.sources)
    library = bring(first, tmp_path / "b")
    assert_same(Dictionary.load(library.folder(library.ids()[0])), original)
    second = export("published", library, "again")
    for name in ("atoms.pt", "atom_indices.pt"):
        assert torch.equal(torch.load(first / name), torch.load(second / name))
    assert yaml.safe_load((first / "metadata.yaml").read_text()) == yaml.safe_load(
        (second / "metadata.yaml").read_text()
    )


def test_with_its_model_and_corpus_it_is_read_as_it_was(
    small: Library, original: Dictionary, export: Export, texts: Path, tmp_path: Path
) -> None:
    library = bring(export("published"), tmp_path / "b", "--model", str(MODEL_A), "--corpus", str(texts), *FEW[:2])
    (dictionary_id,) = library.ids()
    record, was = library.record(dictionary_id), small.record(small.ids()[0])
    assert_same(Dictionary.load(library.folder(dictionary_id)), original)
    assert (record.corpus, record.tokenizer_sha256, record.weights_sha256) == (
        was.corpus, was.tokenizer_sha256, was.weights_sha256
    )  # fmt: skip
    assert (record.n_tokens, record.relative_error, record.holdout) == (was.n_tokens, was.relative_error, True)
    assert all_codes(library) == all_codes(small)
    ours, theirs = (Index(each.index_path(each.ids()[0])) for each in (library, small))
    assert ours.origins().drop(columns="admission_error").equals(theirs.origins().drop(columns="admission_error"))
    assert main(["verify", "--library", str(library.root)]) == 0


def written(folder: Path, atoms: torch.Tensor, indices: torch.Tensor, **metadata: object) -> Path:
    """A folder as the published trainer writes it."""
    folder.mkdir()
    torch.save(atoms, folder / "atoms.pt")
    torch.save(indices, folder / "atom_indices.pt")
    said = {
        "wandb_name": "ITDA", "layer": 3, "lm_name": "docs-a", "device": "cuda", "submodule_name": None, "steps": 10,
        "activation_dim": atoms.shape[1], "k": 40, "loss_threshold": 0.005, "dataset": "some/texts", "seq_len": 128,
        "batch_size": 4, "seed": None, "max_dict_size": 0,
    } | metadata  # fmt: skip
    (folder / "metadata.yaml").write_text(yaml.dump(said))
    return folder


def units(n: int, width: int = 4) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(1)))


def test_what_the_published_trainer_writes_is_read(tmp_path: Path) -> None:
    indices = torch.tensor([[7, 0], [-1, -1], [9, 127]])
    found = read_published(written(tmp_path / "run", units(3), indices))
    settings = found.settings
    assert (settings.error, settings.scan, settings.init, settings.method) == (
        "cosine", "batch", "frequent", "matching"
    )  # fmt: skip
    assert (settings.l0, settings.threshold, settings.max_atoms) == (40, 0.005, None)
    assert (found.site, found.model, found.corpus, found.context) == (Site(3), "docs-a", "some/texts", 128)
    assert torch.equal(found.atoms, units(3)) and torch.equal(found.sources, indices)
    assert not found.holdout and found.metadata["batch_size"] == 4


def test_half_precision_is_brought_to_unit_norm_once(tmp_path: Path) -> None:
    found = read_published(written(tmp_path / "run", units(5, 64).half(), torch.full((5, 2), -1)))
    assert found.atoms.dtype == torch.float32
    assert torch.allclose(found.atoms.norm(dim=1), torch.ones(5), atol=1e-6)


def test_sources_that_are_not_the_models_activation_are_not_known(
    original: Dictionary, texts: Path, tmp_path: Path
) -> None:
    indices = original.sources.clone()
    indices[0] = -1  # not named
    indices[1, 0] += 1  # of another text
    indices[2] = torch.tensor([10**6, 5])  # never read
    folder = written(tmp_path / "run", original.atoms, indices, k=6)
    read = ["--model", str(MODEL_A), "--corpus", str(texts), *FEW[:2]]
    library = bring(folder, tmp_path / "b", *read)
    (dictionary_id,) = library.ids()
    index = Index(library.index_path(dictionary_id))
    origins = index.origins()
    assert origins["document"].tolist() == [-1, -1, -1, *original.sources[3:, 0].tolist()]
    assert origins["label"].tolist()[:3] == [UNKNOWN_SOURCE] * 3
    atom = index.atom(1)
    assert (atom.token, atom.document, atom.position, atom.document_name) == (-1, -1, -1, "") and not atom.has_source
    assert index.atom(3).has_source and index.atom_from(-1, -1) is None
    assert index.sources([1, 3])["atom"].tolist() == [1, 3]
    # What the file said is kept all the same, and given back.
    assert torch.equal(Dictionary.load(library.folder(dictionary_id)).sources, indices)


def test_atoms_without_their_mean_are_known_too(original: Dictionary, texts: Path, tmp_path: Path) -> None:
    centred = torch.nn.functional.normalize(original.atoms - original.atoms.mean(dim=1, keepdim=True))
    folder = written(tmp_path / "run", centred, original.sources, k=6)
    library = bring(folder, tmp_path / "b", "--model", str(MODEL_A), "--corpus", str(texts), *FEW[:2])
    assert (Index(library.index_path(library.ids()[0])).origins()["document"] >= 0).all()


def test_another_corpus_confirms_no_source(original: Dictionary, export: Export, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other.txt"
    other.write_text("one two three four five six seven eight nine ten\n" * 100)
    folder = written(tmp_path / "run", original.atoms, original.sources, k=6)
    capsys.readouterr()
    bring(folder, tmp_path / "b", "--model", str(MODEL_A), "--corpus", str(other), *FEW[:2], "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["atoms"], said["named"], said["confirmed"]) == (60, 60, 0)


def test_special_tokens_before_a_text_count_in_the_published_format(texts: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODEL_A, tmp_path / "begun"))
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    name = tokenizer.id_to_token(0)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{name} $A", special_tokens=[(name, 0)])
    tokenizer.save(str(model / "tokenizer.json"))
    build = ["build", str(model), "--corpus", str(texts), "--layers", "1", *FEW, "--context", "64"]
    assert main([*build, "--library", str(tmp_path / "a"), "--json"]) == 0
    library = Library(tmp_path / "a")
    (dictionary_id,) = library.ids()
    was = Dictionary.load(library.folder(dictionary_id))
    assert main(["export", dictionary_id, "--to", str(tmp_path / "out"), "--library", str(library.root)]) == 0
    indices = torch.load(tmp_path / "out" / "atom_indices.pt", weights_only=True)
    assert torch.equal(indices, was.sources + torch.tensor([0, 1]))
    assert yaml.safe_load((tmp_path / "out" / "metadata.yaml").read_text())["seq_len"] == 65
    read = ["--model", str(model), "--corpus", str(texts), *FEW[:2]]
    again = bring(tmp_path / "out", tmp_path / "b", *read)
    found = Dictionary.load(again.folder(again.ids()[0]))
    assert torch.equal(found.sources, was.sources)
    assert again.record(again.ids()[0]).corpus == library.record(dictionary_id).corpus
    assert (Index(again.index_path(again.ids()[0])).origins()["document"] >= 0).all()
    # One that is older has no note of it: the tokenizer is asked.
    manifest = json.loads((library.folder(dictionary_id) / "manifest.json").read_text())
    assert manifest.pop("prefix") == 1
    (library.folder(dictionary_id) / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITDA_MODELS", str(tmp_path))
        assert main(["export", dictionary_id, "--to", str(tmp_path / "out"), "--library", str(library.root)]) == 0
    assert torch.equal(torch.load(tmp_path / "out" / "atom_indices.pt", weights_only=True), indices)


# What is no dictionary


class Evil:
    def __reduce__(self):
        return (exec, ("open('was_run', 'w')",))


def spoilt(folder: Path, what: str) -> None:
    metadata = folder / "metadata.yaml"
    said = metadata.read_text()
    atoms = units(3)
    match what:
        case "code":
            torch.save(Evil(), folder / "atoms.pt")
        case "code in the indices":
            torch.save({"a": Evil()}, folder / "atom_indices.pt")
        case "no tensor":
            torch.save({"atoms": atoms}, folder / "atoms.pt")
        case "larger than its file":
            torch.save(torch.ones(1, 1).expand(10**6, 10**6), folder / "atoms.pt")
        case "cut short":
            (folder / "atoms.pt").write_bytes((folder / "atoms.pt").read_bytes()[:300])
        case "one dimension":
            torch.save(atoms[0], folder / "atoms.pt")
        case "no atoms":
            torch.save(atoms[:0], folder / "atoms.pt")
        case "whole numbers":
            torch.save(atoms.long(), folder / "atoms.pt")
        case "NaN":
            torch.save(atoms.clone().index_fill_(1, torch.tensor([2]), torch.nan), folder / "atoms.pt")
        case "not of unit norm":
            torch.save(atoms * torch.tensor([[1.0], [1.0], [1.5]]), folder / "atoms.pt")
        case "fewer sources":
            torch.save(torch.zeros(2, 2, dtype=torch.int64), folder / "atom_indices.pt")
        case "sources with a point":
            torch.save(torch.zeros(3, 2), folder / "atom_indices.pt")
        case "half a source":
            torch.save(torch.tensor([[0, 0], [0, -1], [1, 1]]), folder / "atom_indices.pt")
        case "a source out of reach":
            torch.save(torch.tensor([[0, 0], [2**40, 0], [1, 1]]), folder / "atom_indices.pt")
        case "a tag":
            metadata.write_text(said + "x: !!python/object/apply:os.system ['touch was_run']\n")
        case "aliases":
            bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
            metadata.write_text(said + bomb)
        case "a list":
            metadata.write_text("- 1\n")
        case "no text":
            metadata.write_bytes(b"\xff\xfe\x00")
        case "long":
            metadata.write_text(said + "x: " + "y" * 100_000)
        case "no layer":
            metadata.write_text(said.replace("layer: 3", "layer: three"))
        case "no place":
            metadata.write_text(said.replace("submodule_name: null", "submodule_name: mlp.gate"))
        case "no model":
            metadata.write_text(said.replace("lm_name: docs-a", "lm_name: ''"))
        case "no L0":
            metadata.write_text(said.replace("k: 40", "k: 0"))
        case "no indices":
            (folder / "atom_indices.pt").unlink()


REFUSED = {
    "code": "atoms.pt is not a tensor that can be read without running what is in it",
    "code in the indices": "atom_indices.pt is not a tensor that can be read without running what is in it",
    "no tensor": "atoms.pt holds dict where a plain tensor was expected",
    "larger than its file": "atoms.pt holds a tensor [1000000, 1000000] that is larger than the file",
    "cut short": "atoms.pt is not a tensor that can be read",
    "one dimension": "atoms.pt holds float32 [4] where atoms [n_atoms, d_model]",
    "no atoms": "atoms.pt holds 0 atoms of width 4",
    "whole numbers": "atoms.pt holds int64 [3, 4]",
    "NaN": "atom 0 in atoms.pt has a value that is not finite",
    "not of unit norm": "atom 2 in atoms.pt has norm 1.5 where atoms have 1",
    "fewer sources": "atom_indices.pt holds int64 [2, 2] where sources [3, 2]",
    "sources with a point": "atom_indices.pt holds float32 [3, 2]",
    "half a source": "names [0, -1] as the source of atom 1",
    "a source out of reach": "names [1099511627776, 0] as the source of atom 1",
    "a tag": "metadata.yaml of 'run' cannot be read: could not determine a constructor",
    "aliases": "metadata.yaml of 'run' cannot be read: it has an alias",
    "a list": "it is no list of names and values",
    "no text": "metadata.yaml of 'run' cannot be read",
    "long": "it has more than 65,536 bytes",
    "no layer": "layer: 'three' is not a count",
    "no place": "submodule_name is 'mlp.gate', which is no place known here",
    "no model": "it names no lm_name",
    "no L0": "l0 is 0: it must be at least 1",
    "no indices": "'run' has no atom_indices.pt",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_dictionary_is_refused_in_one_line(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = written(tmp_path / "run", units(3), torch.tensor([[0, 1], [0, 2], [1, 1]]))
    assert read_any(folder)[0] == "published"
    spoilt(folder, what)
    assert main(["import", "run", "--library", str(tmp_path / "library")]) == 2
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("itda: ")]
    assert REFUSED[what] in line
    assert said.out == "" and len(line) < 400
    assert not (tmp_path / "was_run").exists()
    assert Library(tmp_path / "library").ids() == []


def test_other_mistakes_are_told_in_one_line(
    small: Library, export: Export, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(tmp_path / "run", units(3), torch.full((3, 2), -1))
    deep = written(tmp_path / "deep", units(3, 192), torch.full((3, 2), -1), layer=9)
    (dictionary_id,) = small.ids()
    whole = ["--model", str(MODEL_A), "--corpus", str(texts)]
    (tmp_path / "empty").mkdir()
    cases = {
        "holds no dictionary that is known here": ["import", str(tmp_path / "empty")],
        "there is no folder": ["import", str(tmp_path / "none")],
        "--corpus is missing": ["import", str(folder), "--model", str(MODEL_A)],
        "its atoms have width 4 and activations of docs-a 192": ["import", str(folder), *whole],
        "there is no layer 9": ["import", str(deep), *whole],
        "there is no dictionary 'none'": ["export", "none"],
        "is there already": ["export", dictionary_id, "--to", str(folder)],
        "no repository": ["push", dictionary_id, "no repository"],
        "names no owner": ["pull", "alone"],
    }
    for line, arguments in cases.items():
        assert main([*arguments, "--library", str(small.root)]) == 2
        assert line in capsys.readouterr().err.splitlines()[-1], line
    assert small.ids() == [dictionary_id]


# Parquet, safetensors


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_tables_and_tensors_there_and_back_are_the_same_to_the_bit(
    form: str, small: Library, original: Dictionary, export: Export, tmp_path: Path
) -> None:
    folder = export(form)
    library = bring(folder, tmp_path / "b")
    found = Dictionary.load(library.folder(library.ids()[0]))
    assert_same(found, original)
    assert torch.equal(found.admission_errors, original.admission_errors)
    expected = all_codes(small)
    if form == "parquet":
        parts = [codes.to_dict("list") for codes in parquet.read_codes(folder)]
    else:
        parts = [{name: array.tolist() for name, array in codes.items()} for codes in safetensors.read_codes(folder)]
    got = {name: [value for part in parts for value in part[name]] for name in expected}
    assert got == expected and len(got["atom"]) > 1000
    second = export(form, library, "again")
    if form == "safetensors":  # the codes are not there: nothing was read with it
        assert (second / "dictionary.safetensors").read_bytes() == (folder / "dictionary.safetensors").read_bytes()


def test_codes_and_sources_in_the_tables_are_the_texts(
    small: Library, original: Dictionary, export: Export, language_reference: list[Document]
) -> None:
    import pandas as pd

    atoms = pd.read_parquet(export("parquet") / "atoms.parquet")
    assert np.array_equal(np.stack(atoms["vector"].tolist()), original.atoms.numpy())
    for row in atoms.itertuples():
        text = language_reference[row.document].text
        assert text[row.start : row.stop].strip() == row.label.strip()
        assert row.before + row.label + row.after in text
    codes = pd.concat(parquet.read_codes(export("parquet", name="two")))
    x_hat = np.zeros((1 + codes["token"].max(), original.d_model))
    np.add.at(x_hat, codes["token"], codes["coefficient"].to_numpy()[:, None] * original.atoms.numpy()[codes["atom"]])
    norms = np.linalg.norm(x_hat[codes["token"].unique()], axis=1)
    assert (norms > 1).all()  # activations of this model are tens long


def test_damaged_exports_are_refused(export: Export, tmp_path: Path) -> None:
    for form, name in (("parquet", "atoms.parquet"), ("safetensors", "dictionary.safetensors")):
        folder = export(form)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="cannot be read"):
            read_any(folder)
        (folder / name).write_bytes(content)
        about = json.loads((folder / "about.json").read_text())
        (folder / "about.json").write_text(json.dumps(about | {"layer": "x"}))
        with pytest.raises(UserError, match="cannot be used"):
            read_any(folder)


def test_an_export_is_whole_or_not_there_and_takes_nothing_elses_place(
    small: Library, export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export("published")
    (dictionary_id,) = small.ids()
    common = ["export", dictionary_id, "--library", str(small.root), "--to", str(folder)]
    assert main(common) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert main([*common, "--overwrite", "--format", "parquet", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["files"]) == {"about.json", "atoms.parquet", "codes.parquet"}
    (folder / "letter.txt").write_text("mine")
    assert main([*common, "--overwrite"]) == 2
    assert "'letter.txt', which is not of an export" in capsys.readouterr().err
    assert (folder / "letter.txt").read_text() == "mine"
    record = small.folder(dictionary_id) / "manifest.json"
    said = record.read_text()
    record.write_text(said.replace('"matching"', '"orthogonal"'))
    try:
        assert main([*common[:-1], str(tmp_path / "new"), "--format", "saelens"]) == 2
    finally:
        record.write_text(said)
    assert "SAELens does not have" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["published"]


def test_a_folder_of_a_library_is_taken_over_as_it_is(small: Library, tmp_path: Path) -> None:
    (dictionary_id,) = small.ids()
    library = bring(small.folder(dictionary_id), tmp_path / "b")
    assert library.ids() == [dictionary_id]
    for name in ("manifest.json", "atoms.safetensors", "index.duckdb"):
        assert (library.folder(dictionary_id) / name).read_bytes() == (small.folder(dictionary_id) / name).read_bytes()
    changed = Path(shutil.copytree(small.folder(dictionary_id), tmp_path / "changed"))
    with (changed / "index.duckdb").open("ab") as file:
        file.write(b"x")
    assert main(["import", str(changed), "--library", str(tmp_path / "c")]) == 2
    assert Library(tmp_path / "c").ids() == []


# SAELens


def test_a_dictionary_looks_like_an_sae(small: Library, original: Dictionary) -> None:
    record = small.record(small.ids()[0])
    sae = ItdaSae.of(record, original)
    x = torch.randn(3, 5, 192, generator=torch.Generator().manual_seed(2)) * 4
    dense = sae.encode(x)
    codes = original.encode(x.reshape(-1, 192))
    assert dense.shape == (3, 5, 60) and int((dense != 0).sum()) == len(codes.row)
    assert torch.equal(dense.reshape(15, 60)[codes.row, codes.atom], torch.from_numpy(codes.coefficient))
    assert (dense < 0).any()
    for same in (x.numpy(), x.tolist(), x.clone().requires_grad_()):
        assert torch.equal(sae.encode(same), dense)
    assert torch.equal(sae.encode(x[0, 0]), dense[0, 0])
    assert torch.equal(sae.decode(dense.numpy()), sae.decode(dense))
    assert sae.decode(dense.clone().requires_grad_()).requires_grad  # other tools differentiate through it
    assert torch.allclose(sae(x), original.decode(codes, 15).reshape(3, 5, 192), atol=1e-4)
    assert torch.equal(sae.W_dec.data, original.atoms) and torch.equal(sae.W_enc, sae.W_dec.T)
    assert not sae.b_dec.any() and sae.b_dec.shape == (192,) and sae.b_enc.shape == (60,)
    assert (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.k, sae.cfg.hook_layer) == (192, 60, 6, 3)
    assert sae.cfg.hook_name == sae.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    assert sae.cfg.to_dict()["architecture"] == sae.cfg.architecture() == "itda"
    half = sae.to(dtype=torch.bfloat16)
    assert half.encode(x.bfloat16()).dtype == half.dtype == torch.bfloat16 and half.cfg.dtype == "bfloat16"
    for wrong in (x[..., :7], x[0, 0, 0], 1j * x, x > 0):
        with pytest.raises(ValueError, match=r"^x: "):
            sae.encode(wrong)


# Centring


@pytest.fixture(scope="module")
def centred(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Library:
    """A library with one centred dictionary."""
    root = tmp_path_factory.mktemp("centred") / "library"
    build = ["build", str(MODEL_A), "--corpus", str(texts), "--layers", "3", *FEW, "--center", "mean", "--no-map"]
    assert main([*build, "--library", str(root), "--json"]) == 0
    return Library(root)


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
def test_the_mean_goes_out_and_comes_back(form: str, centred: Library, export: Export, texts: Path, tmp_path: Path):
    first = Dictionary.load(centred.folder(centred.ids()[0]))
    folder = export(form, centred)
    reading = ["--model", str(MODEL_A), "--corpus", str(texts), "--tokens", "1500"]
    for number, more in enumerate(([], reading)):
        library = bring(folder, tmp_path / f"library-{number}", *more)
        (found,) = library.ids()
        again = Dictionary.load(library.folder(found))
        assert_same(again, first)
        assert torch.equal(again.mean, first.mean) and first.mean.any()
    assert report_of(library, found).confirmed == len(first)
    assert library.record(found).relative_error == pytest.approx(centred.record(centred.ids()[0]).relative_error)


def test_a_mean_that_is_not_as_the_settings_say_is_refused(centred: Library, export: Export, tmp_path: Path, capsys):
    for number, change in enumerate(({"mean": None}, {"mean": [1.0, 2.0]}, {"mean": "x"}, {"mean": [1e999] * 192})):
        folder = export("parquet", centred, f"wrong-{number}")
        about = json.loads((folder / "about.json").read_text()) | change
        (folder / "about.json").write_text(json.dumps(about))
        assert main(["import", str(folder), "--library", str(tmp_path / "c")]) == 2
        assert "mean" in capsys.readouterr().err.splitlines()[-1]
    assert Library(tmp_path / "c").ids() == []


def test_the_published_format_has_no_place_for_a_mean(centred: Library, tmp_path: Path, capsys) -> None:
    (found,) = centred.ids()
    export = ["export", found, "--format", "published", "--to", str(tmp_path / "out"), "--library", str(centred.root)]
    assert main(export) == 2
    assert "safetensors" in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()


def test_the_mean_is_the_bias_of_an_sae(centred: Library, export: Export) -> None:
    record = centred.record(centred.ids()[0])
    dictionary = Dictionary.load(centred.folder(record.id))
    sae = ItdaSae.of(record, dictionary)
    x = torch.randn(4, 192, generator=torch.Generator().manual_seed(3)) * 4 + dictionary.mean
    assert torch.equal(sae.b_dec.data, dictionary.mean) and sae.cfg.apply_b_dec_to_input
    assert torch.allclose(sae(x), dictionary.decode(dictionary.encode(x), 4), atol=1e-4)
    sae_lens = pytest.importorskip("sae_lens")
    theirs = sae_lens.SAE.load_from_disk(export("saelens", centred))
    assert torch.allclose(theirs.decode(theirs.encode(x)), sae(x), atol=1e-3)


def test_hook_names_are_those_of_transformerlens() -> None:
    assert [hook_name(Site(2, hook)) for hook in ("resid", "mlp", "attn")] == [
        "blocks.2.hook_resid_post", "blocks.2.hook_mlp_out", "blocks.2.hook_attn_out"
    ]  # fmt: skip


def test_a_folder_for_saelens_has_each_atom_twice_where_codes_are_signed(original: Dictionary, export: Export) -> None:
    folder = export("saelens")
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")["W_dec"]
    assert torch.equal(weights, torch.cat([original.atoms, -original.atoms]))
    assert (config["architecture"], config["d_sae"], config["max_iterations"]) == ("matching_pursuit", 120, 6)


def test_saelens_itself_reads_it_and_codes_alike(small: Library, original: Dictionary, export: Export) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    theirs = sae_lens.SAE.load_from_disk(export("saelens"))
    assert theirs.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    ours = ItdaSae.of(small.record(small.ids()[0]), original)
    x = torch.randn(4, 9, 192, generator=torch.Generator().manual_seed(3)) * 4
    both = theirs.encode(x)
    assert torch.allclose(both[..., :60] - both[..., 60:], ours.encode(x), atol=1e-4)
    assert torch.allclose(theirs.decode(both), ours(x), atol=1e-4)
