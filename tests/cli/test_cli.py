import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from itda_core.build.remove import remove_dictionary
from itda_core.cli.command_line import main
from itda_core.common.settings import parse_layers
from itda_core.common.types import Document
from itda_core.jobs.locks import build_lock
from itda_core.jobs.read import read_jobs
from itda_core.library.library import Library
from itda_core.queries.atoms import Index
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A
from tests.support.processes import run_itda

Refused = Callable[..., str]


@pytest.fixture
def copy(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(library, tmp_path / "library"))


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """`refused(*arguments)` is the one line that a user's mistake gives."""

    def run(*arguments: str) -> str:
        assert main(arguments) == 2
        said = capfd.readouterr()
        assert said.out == ""
        lines = [line for line in re.split(r"[\r\n]+", said.err) if line.startswith("itda: ")]
        assert len(lines) == 1
        return lines[0]

    return run


def test_a_dictionary_is_removed_with_its_comparisons(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = Library(copy).ids()
    for a, b in ((first, second), (third, first), (second, third)):
        (copy / "comparisons" / f"{a}--{b}-0123456789").mkdir(parents=True)
    command = ["rm", first, "--library", str(copy)]
    assert main(command) == 2 and "add --yes" in capsys.readouterr().err  # no terminal to ask in
    with build_lock(copy, first):
        assert main([*command, "--yes"]) == 2 and "is being built" in capsys.readouterr().err
    assert Library(copy).ids() == [first, second, third]
    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out == f"{first} is removed\n"
    assert [path.name for path in (copy / "dictionaries").iterdir() if first in path.name] == []
    assert [path.name for path in (copy / "comparisons").iterdir()] == [f"{second}--{third}-0123456789"]
    assert main([*command, "--yes"]) == 2 and "there is no dictionary" in capsys.readouterr().err
    (copy / "dictionaries" / second / "manifest.json").write_text("{")  # a damaged one too
    assert main(["rm", second, third, "--yes", "--library", str(copy)]) == 0
    assert Library(copy).ids() == []


def test_removal_takes_all_dictionaries_or_none(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = Library(copy).ids()
    assert main(["rm", ids[0], "no-such-one", "--yes", "--library", str(copy)]) == 2
    assert Library(copy).ids() == ids
    assert main(["rm", ids[0], ids[0], "--yes", "--library", str(copy)]) == 0
    assert Library(copy).ids() == ids[1:]


def test_removal_leaves_what_is_not_the_librarys(copy: Path, tmp_path: Path) -> None:
    library = Library(copy)
    first, second, third = library.ids()
    elsewhere = tmp_path / "elsewhere"
    (copy / "dictionaries" / first).rename(elsewhere)
    (copy / "dictionaries" / first).symlink_to(elsewhere)
    part = copy / "comparisons" / f".{first}--{second}-0123456789.{'0' * 32}"
    other = copy / "comparisons" / f"{second}--x-{first}--{third}-0123456789"  # of ids with -- in them
    for folder in (part, other):
        folder.mkdir(parents=True)
    remove_dictionary(library, first)
    assert library.ids() == [second, third] and len(list(elsewhere.iterdir())) > 2
    assert part.is_dir() and other.is_dir()
    assert not [path for path in library.dictionaries.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("", True), ("no", True)])
def test_removal_is_confirmed_in_a_terminal(
    answer: str, stays: bool, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Library(copy).ids()[0]
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: (asked.append(question), answer)[1])
    assert main(["rm", first, "--library", str(copy)]) == 0
    assert (first in Library(copy).ids()) == stays
    assert first in asked[0] and " MB)" in asked[0]


def test_the_end_of_input_is_no(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", end)
    ids = Library(copy).ids()
    assert main(["rm", ids[0], "--library", str(copy)]) == 0
    assert Library(copy).ids() == ids


def test_list_as_json(library: Path) -> None:
    done = run_itda("list", "--library", str(library), "--json")
    assert done.returncode == 0
    (a1, a3, b3) = json.loads(done.stdout)["dictionaries"]
    assert list(a1) == [
        "id", "model", "layer", "hook", "corpus", "n_atoms", "n_tokens", "l0", "threshold", "error", "scan",
        "relative_error",
        "variance_explained",
    ]  # fmt: skip
    assert [(d["model"], d["layer"]) for d in (a1, a3, b3)] == [("docs-a", 1), ("docs-a", 3), ("docs-b", 3)]
    assert len({d["corpus"] for d in (a1, a3, b3)}) == 1
    for d in (a1, a3, b3):
        assert d["n_tokens"] == 6000
        assert 0 < d["relative_error"] < 0.5
        assert d["id"].startswith(f"{d['model']}-l{d['layer']}-resid-")


def test_list_for_people_and_of_nothing(library: Path, tmp_path: Path) -> None:
    assert run_itda("list", "--library", str(library)).stdout.count("relative error") == 3
    done = run_itda("list", "--library", str(tmp_path / "none"))
    assert done.returncode == 0
    assert "itda demo" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_build_prints_json_alone_and_progress_on_stderr(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The quick brown fox jumps over the lazy dog. " * 20)
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "2", "--hook", "mlp,attn"]
    kept = ["--no-holdout", "--no-map", "--tokens", "100", "--keep-activations"]
    options = [*kept, "--library", str(tmp_path / "library"), "--json"]
    done = run_itda(*arguments, *options)
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)["dictionaries"]
    assert [(d["layer"], d["hook"]) for d in built] == [(2, "mlp"), (2, "attn")]
    assert "tokens/s" in done.stderr
    assert list((tmp_path / "library" / "activations").iterdir())
    # The same command again finds them whole and builds nothing.
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "library" / "dictionaries").rglob("*")}
    assert json.loads(run_itda(*arguments, *options).stdout)["dictionaries"] == built
    assert marks == {path: path.stat().st_mtime_ns for path in (tmp_path / "library" / "dictionaries").rglob("*")}


def test_a_text_of_ones_own_is_built_and_measured_as_it_is(
    tmp_path: Path, language_reference: list[Document], capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "notes.txt"
    corpus.write_text("\n\n".join(document.text for document in language_reference)[:8000])
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1"]
    assert main([*arguments, "--library", str(tmp_path), "--json"]) == 0
    (built,) = json.loads(capsys.readouterr().out)["dictionaries"]
    assert 1500 < built["n_tokens"] < 3000  # nearly all of the text: a token has about three characters here
    assert 0 < built["relative_error"] < 1
    library = Library(tmp_path)
    record = library.record(built["id"])
    assert record.holdout
    assert 100 < record.measured_tokens < 400  # those of two passages
    assert Index(library.index_path(record.id)).atom(0).document_name == "notes.txt, part 1"


def test_a_dimension_that_is_large_without_the_mean_too_is_told(
    tmp_path: Path, language_reference: list[Document], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(MODEL_A, tmp_path / "massive", ignore=shutil.ignore_patterns("checkpoints")))
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][::2, 17] += 3_000
    weights["model.embed_tokens.weight"][1::2, 17] -= 3_000
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    corpus = write_documents(tmp_path / "texts.jsonl", language_reference[:20])
    arguments = ["build", str(model), "--corpus", str(corpus), "--layers", "1", "--tokens", "1500", "--no-map"]
    assert main([*arguments, "--center", "mean", "--library", str(tmp_path / "library")]) == 0
    told = "layer 1 resid: 100 % of the energy of an activation without the mean is in dimension 17 on average, so"
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_two_builds_of_the_same_give_the_same_atoms(library: Path, build_library, tmp_path, language_reference) -> None:
    roots = [build_library(tmp_path / name / "library", language_reference, tokens=1500) for name in "ab"]
    (first,), (second,) = (list((root / "dictionaries").iterdir()) for root in roots)
    assert first.name == second.name
    assert (first / "atoms.safetensors").read_bytes() == (second / "atoms.safetensors").read_bytes()


def test_verify(copy: Path) -> None:
    assert main(["verify", "--library", str(copy)]) == 0
    dictionary_id = Library(copy).ids()[0]
    index = copy / "dictionaries" / dictionary_id / "index.duckdb"
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    done = run_itda("verify", "--library", str(copy), "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert list(answer["problems"]) == [dictionary_id]
    assert len(answer["checked"]) == 4  # three dictionaries and their corpus


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "invalid choice"),
        (["build", "m"], "--layers"),
        (["build", "m", "--layers", "3-1"], "such as 2,4-6"),
        (["build", "m", "--layers", "0-999999999"], "no model"),
        (["build", "MODEL", "--layers", "1", "--corpus", "CORPUS", "--device", "nose"], "'nose'"),
        (["build", "m", "--layers", "1", "--hook", "nose"], "resid"),
        (["build", "m", "--layers", "1", "--l0", "0"], "l0"),
        (["build", "m", "--layers", "1", "--threshold", "nan"], "threshold"),
        (["build", "m", "--layers", "1", "--init", "frequent"], "scan"),
        (["build", "m", "--layers", "1", "--corpus", "/no/such/file.txt"], "/no/such/file.txt"),
        (["build", "/no/such/model", "--layers", "1", "--corpus", "CORPUS"], "/no/such/model"),
        (["build", "MODEL", "--layers", "9", "--corpus", "CORPUS"], "layers 0 to 5"),
        (["build", "MODEL", "--layers", "1", "--corpus", "CORPUS", "--no-holdout", "--context", "500"], "--context"),
        (["map", "nothing-here"], "no dictionary"),
    ],
)
def test_mistakes_give_one_line_and_exit_2(
    arguments: list[str], message: str, tmp_path: Path, refused: Refused
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Some words to read. " * 200)
    known = {"CORPUS": str(corpus), "MODEL": str(MODEL_A)}
    given = [known.get(argument, argument) for argument in arguments]
    where = ["--library", str(tmp_path / "library")] if arguments[:1] in (["build"], ["map"]) else []
    assert message in refused(*given, *where)
    dictionaries = tmp_path / "library" / "dictionaries"
    assert not dictionaries.exists() or not [p for p in dictionaries.iterdir() if not p.name.startswith(".")]


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["Some words to read."], [], "has a single document, so that none is held out"),
        (["Some words."] * 5, ["--tokens", "100000000"], "has only 5 documents, so that none is held out"),
        (["Some words."] * 20, ["--documents", "9"], "raise --documents, or give --no-holdout"),
        (["Some words."] * 20, ["--tokens", "3"], "raise --tokens, or give --no-holdout"),
        (["Some words."] * 9 + [""] * 3, [], "has a token to capture: name a longer text, or give --no-holdout"),
    ],
)
def test_a_build_without_a_held_out_token_says_what_helps(
    texts: list[str], options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1", "--library", str(tmp_path)]
    assert main([*arguments, *options]) == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "dictionaries").glob("[!.]*"))


@pytest.mark.slow
def test_a_failed_build_keeps_its_reason_for_the_page(tmp_path: Path, refused: Refused) -> None:
    refused("build", "/no/such/model", "--layers", "1", "--corpus", "/no/such/text.txt", "--library", str(tmp_path))
    (job,) = read_jobs(tmp_path)
    assert job.status == "failed"
    assert "/no/such/text.txt" in (job.error or "")


def test_a_second_builder_of_the_same_is_told(copy: Path) -> None:
    from itda_core.jobs.locks import build_lock

    dictionary_id = Library(copy).ids()[0]
    with build_lock(copy, dictionary_id):
        code = (
            "from pathlib import Path; from itda_core.jobs.locks import build_lock\n"
            f"with build_lock(Path({str(copy)!r}), {dictionary_id!r}): pass"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "being built by another process" in done.stderr


@pytest.mark.slow
def test_a_damaged_dictionary_is_built_again(tmp_path: Path, build_library, language_reference) -> None:
    root = build_library(tmp_path / "library", language_reference, tokens=1500)
    (folder,) = (root / "dictionaries").iterdir()
    atoms = (folder / "atoms.safetensors").read_bytes()
    index = folder / "index.duckdb"
    index.write_bytes(index.read_bytes()[:20_000])
    build_library(root, language_reference, tokens=1500)
    assert list(Library(root).verify(folder.name)) == []
    assert (folder / "atoms.safetensors").read_bytes() == atoms
    assert [path.name for path in (root / "dictionaries").iterdir()] == [folder.name]


@pytest.mark.slow
def test_a_threshold_that_admits_nothing_leaves_nothing(tmp_path: Path, refused: Refused) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Some words to read. " * 50)
    arguments = ["build", str(MODEL_A), "--corpus", str(corpus), "--layers", "1", "--no-holdout", "--threshold", "1.5"]
    assert "lower --threshold" in refused(*arguments, "--library", str(tmp_path / "library"))
    dictionaries = tmp_path / "library" / "dictionaries"
    assert not dictionaries.exists() or not list(dictionaries.iterdir())


@pytest.mark.slow
def test_code_of_a_model_is_never_run(tmp_path: Path) -> None:
    model = Path(shutil.copytree(MODEL_A, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints")))
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Some words to read. " * 50)
    done = subprocess.run(
        [sys.executable, "-m", "itda_core.cli", "build", str(model), "--corpus", str(corpus), "--layers", "1",
         "--no-holdout", "--library", str(tmp_path / "library")],
        capture_output=True, text=True, input="y\ny\ny\n",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "ran").exists()


def test_layers() -> None:
    assert parse_layers("2,4-6") == (2, 4, 5, 6)
    assert parse_layers("3, 3-4,0") == (0, 3, 4)


@pytest.mark.slow
def test_keys_never_reach_a_file_or_the_output(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Some words to read. " * 50)
    keys = {"HF_TOKEN": "hf_secretsecretsecret", "NDIF_API_KEY": "ndif-secretsecret"}
    options = ["--layers", "0", "--no-holdout", "--no-map", "--tokens", "60", "--library", str(tmp_path / "library")]
    done = run_itda("build", str(MODEL_A), "--corpus", str(corpus), *options, env={**os.environ, **keys})
    assert done.returncode == 0, done.stderr
    written = b"".join(path.read_bytes() for path in (tmp_path / "library").rglob("*") if path.is_file())
    for key in keys.values():
        assert key not in done.stdout + done.stderr
        assert key.encode() not in written
