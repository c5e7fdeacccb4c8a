"""`itda verify` finds what was changed in any file of a library, blames nothing else, and goes on after each problem.

`python -m tests.cli.test_verify` prints how many of 100 flipped bits are found, by kind of file.
"""

import json
import shutil
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from itda_core.cli.command_line import main
from itda_core.cli.verify import verify_library
from itda_core.common.files import DIGEST, read_json, write_json
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.library.library import Library
from itda_core.reports.comparison import SIDE_FILES, folder_of
from itda_core.reports.transplant import ATOMS_FILE as TRANSPLANTED_FILE
from itda_core.reports.transplant import CONTEXTS_FILE
from tests.support.mutations import asked, flipped
from tests.support.other_user import closed, run_as_other
from tests.support.small_library import ID
from tests.support.whole_library import OTHER, SAE, files_of, write_whole_library

IMPORT_ALL = """
import contextlib, os
from itda_core import cli
with contextlib.redirect_stdout(open(os.devnull, "w")):
    cli.main(sys.argv[1:])
"""
"""Runs a command once, so that all that it imports is there when modules may not be read any more."""
USUAL = 1
"""Bits flipped in each kind of file where no number is asked for."""


def checked_files(library: Library) -> dict[str, Path]:
    """Every kind of file that is checked."""
    a, b = library.record(ID), library.record(OTHER)
    pair = folder_of(library, a, b)
    found = files_of(library)
    del found["job lock"]  # it is empty
    return found | {
        "atoms": library.folder(ID) / ATOMS_FILE,
        "index": library.folder(ID) / INDEX_FILE,
        "map": library.map_path(ID),
        "documents": next(library.corpora.glob("*/documents.parquet")),
        "shard": sorted(library.activations.glob("*/shard-*"))[0],
        "SAE weights": library.saes / SAE / "sae_weights.safetensors",
        **{f"comparison's {name}": pair / name for name in SIDE_FILES.values()},
        **{name: pair / name for name in (TRANSPLANTED_FILE, CONTEXTS_FILE)},
    }


def problems_of(library: Library) -> dict[str, list[str]]:
    return {name: lines for name, lines in verify_library(library).items() if lines}


def missed(library: Library, path: Path, kind: str, n: int) -> list[bytes]:
    """Files with one bit flipped in which nothing was found."""
    sound, found = path.read_bytes(), []
    for content in flipped(sound, zlib.crc32(kind.encode()), n):
        path.write_bytes(content)
        if not problems_of(library):
            found.append(content)
    path.write_bytes(sound)
    return found


@pytest.fixture
def library(whole: Library, tmp_path: Path) -> Library:
    return Library(Path(shutil.copytree(whole.root, tmp_path / "library")))


@pytest.mark.slow
def test_every_flipped_bit_is_found(whole: Library) -> None:
    assert problems_of(whole) == {}
    files = checked_files(whole)
    assert {kind: found for kind, path in files.items() if (found := missed(whole, path, kind, asked() or USUAL))} == {}
    assert problems_of(whole) == {}


@pytest.mark.parametrize(
    "change", [{"n_atoms": 4}, {"n_tokens": 35}, {"relative_error": 0.3}, {"weights_sha256": "0"}, {"d_model": 9}]
)
def test_a_changed_manifest_is_found_and_nothing_else_blamed(library: Library, change: dict) -> None:
    path = library.folder(ID) / MANIFEST_FILE
    write_json(path, read_json(path) | change)
    ((name, lines),) = problems_of(library).items()
    assert name == ID
    assert [line for line in lines if not line.startswith(MANIFEST_FILE)] == []


def test_files_without_a_digest_are_held_against_each_other(library: Library) -> None:
    for path in [path for path in library.root.rglob("*.json") if path.name not in ("command.json", "cfg.json")]:
        write_json(path, {name: value for name, value in read_json(path).items() if name != DIGEST})
    library.map_path(ID).with_name("map.parquet.sha256").unlink()
    assert problems_of(library) == {}  # as they were written before there were any
    path = library.folder(ID) / MANIFEST_FILE
    write_json(path, read_json(path) | {"n_atoms": 4, "n_tokens": 37})
    assert problems_of(library) == {
        ID: [
            f"{MANIFEST_FILE} names {said} where {held}: build the dictionary again"
            for said, held in (
                ("4 atoms", f"{ATOMS_FILE} holds 3"),
                ("4 indexed atoms", f"{INDEX_FILE} holds 3"),
                ("37 tokens", f"{INDEX_FILE} holds 36"),
            )
        ]
    }


def test_a_digest_under_another_name_is_a_change(library: Library) -> None:
    path = files_of(library)["job state"]
    path.write_text(path.read_text().replace(f'"{DIGEST}"', '"dagest"'))
    assert problems_of(library) == {path.parent.name: ["state.json is not as it was written"]}


@pytest.mark.parametrize("kind", ["comparison", "transplant"])
def test_a_missing_summary_is_found(library: Library, kind: str) -> None:
    path = files_of(library)[kind]
    path.unlink()
    assert [line[: len(path.name) + 11] for line in problems_of(library)[path.parent.name]] == [
        f"{path.name} is missing"
    ]


def test_every_problem_is_listed(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    files = checked_files(library)
    for kind in ("dictionary manifest", "corpus manifest", "SAE record"):  # without which the rest is not looked at
        del files[kind]
    for path in files.values():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    capsys.readouterr()
    assert main(["verify", "--library", str(library.root), "--json"]) == 1
    lines = [line for own in json.loads(capsys.readouterr().out)["problems"].values() for line in own]
    for name in (
        ATOMS_FILE,
        INDEX_FILE,
        "map.parquet",
        "documents.parquet",
        "sae_weights",
        "shard-000000",
        "state.json",
    ):
        assert any(name in line for line in lines), name


def test_what_may_not_be_read_is_a_problem_and_hides_nothing(opened: Library) -> None:
    files = checked_files(opened)
    of = {
        ID: opened.folder(ID),
        files["corpus manifest"].parent.name: files["documents"],
        files["shard"].parent.name: files["shard"],
        files["job state"].parent.name: files["job state"].parent,
        SAE: files["SAE weights"],
    }
    (opened.folder(OTHER) / ATOMS_FILE).write_bytes(b"")
    where = ["--library", str(opened.root), "--json"]
    with closed(*of.values()):
        verify, listed, jobs = (
            run_as_other(IMPORT_ALL, "sys.exit(cli.main(sys.argv[1:]))", command, *where)
            for command in ("verify", "list", "jobs")
        )
    assert (verify.returncode, listed.returncode, jobs.returncode) == (1, 0, 0), verify.stderr + listed.stderr
    problems = json.loads(verify.stdout)["problems"]
    assert problems.keys() == {*of, OTHER}
    assert all("cannot be read" in problems[name][0] for name in of), problems
    assert [each["id"] for each in json.loads(listed.stdout)["dictionaries"]] == [OTHER]
    assert "Permission denied" in listed.stderr
    assert [each["title"] for each in json.loads(jobs.stdout)["jobs"]] == ["unreadable"]


def test_parts_of_the_library_that_may_not_be_read_are_problems(opened: Library) -> None:
    parts = [opened.root / name for name in ("dictionaries", "corpora", "comparisons", "saes", "activations", "jobs")]
    with closed(*parts):
        done = run_as_other(
            IMPORT_ALL, "sys.exit(cli.main(sys.argv[1:]))", "verify", "--library", str(opened.root), "--json"
        )
    assert done.returncode == 1, done.stderr
    problems = json.loads(done.stdout)["problems"]
    assert problems.keys() == {path.name for path in parts}
    assert all("cannot be read: Permission denied" in line for lines in problems.values() for line in lines)


def main_() -> None:
    n = asked() or 100
    with TemporaryDirectory() as folder:
        library = write_whole_library(Path(folder) / "library")
        for kind, path in checked_files(library).items():
            print(f"{kind}: {n - len(missed(library, path, kind, n))} of {n} found", flush=True)


if __name__ == "__main__":
    main_()
