"""Dictionaries pushed to a Hub on the loopback interface and pulled from it, by the real client."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.common.types import Document, Site
from itda_core.interop.card import card, inert
from itda_core.library.library import Library
from itda_core.reports.quality import Measured, Point, Quality, Series, write_quality
from tests.support.corpora import write_documents
from tests.support.hub_server import UNKNOWN_TOKEN, Hub, hub_environment, serve
from tests.support.places import MODEL_A
from tests.support.processes import run_itda
from tests.support.small_library import spoil_atoms, write_library

WRITER, READER = "hf_writer", "hf_reader"
TOKENS = (WRITER, READER, UNKNOWN_TOKEN)
FEW = [
    "--tokens",
    "1500",
    "--l0",
    "6",
    "--threshold",
    "0.25",
    "--max-atoms",
    "7",
]  # too few for a map, which takes longer


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Path:
    path = tmp_path_factory.mktemp("texts") / "secret-name.jsonl"
    write_documents(path, language_reference[:40])
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Library:
    root = tmp_path_factory.mktemp("small") / "library"
    build = ["build", str(MODEL_A), "--corpus", str(texts), "--layers", "3", *FEW]
    assert main([*build, "--library", str(root), "--json"]) == 0
    return Library(root)


LISTED = ["../../outside.txt", "/etc/passwd", "..\\index.duckdb", "dictionary/atoms.safetensors"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    (folder / "models").mkdir()
    gated = {"models/me/gated": "hf_right"}
    listed = {"models/me/hostile": LISTED}
    with serve(folder, gated, writers=frozenset({WRITER}), listed=listed) as served:
        yield served


def run(hub: Hub | dict[str, str], home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"HF_HUB_DISABLE_XET": "1", **environment}  # the loopback Hub speaks LFS
    env = hub.environment(home / "cache", **settings) if isinstance(hub, Hub) else {**hub, **settings}
    done = run_itda(*arguments, env=env)
    assert "Traceback" not in done.stderr, done.stderr
    assert not [token for token in TOKENS if token in done.stdout + done.stderr]
    return done


def pushed(hub: Hub, home: Path, small: Library, repo: str, *more: str) -> dict:
    (dictionary_id,) = small.ids()
    arguments = ["push", dictionary_id, repo, "--library", str(small.root), "--json", *more]
    done = run(hub, home, *arguments, HF_TOKEN=WRITER)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(hub: Hub | dict[str, str], home: Path, *arguments: str, **environment: str) -> str:
    done = run(hub, home, *arguments, **environment)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("itda: ")]
    return line


def test_with_its_texts_a_dictionary_comes_back_as_it_is(hub: Hub, small: Library, tmp_path: Path) -> None:
    said = pushed(hub, tmp_path, small, "me/whole", "--with-text")
    assert said["files"] == [ATOMS_FILE, INDEX_FILE, MANIFEST_FILE, "README.md"]
    done = run(hub, tmp_path, "pull", "me/whole", "--library", str(tmp_path / "b"), "--json")
    assert done.returncode == 0, done.stderr
    (dictionary_id,) = small.ids()
    assert json.loads(done.stdout) == {"id": dictionary_id, "atoms": 7, "named": 7, "confirmed": 7}
    library = Library(tmp_path / "b")
    for name in said["files"][:3]:
        assert (library.folder(dictionary_id) / name).read_bytes() == (small.folder(dictionary_id) / name).read_bytes()
    assert list(library.verify(dictionary_id)) == []


def test_without_its_texts_none_leaves_and_it_can_be_read_again(
    hub: Hub, small: Library, texts: Path, tmp_path: Path
) -> None:
    said = pushed(hub, tmp_path, small, "me/atoms")
    there = hub.folder / "models" / "me" / "atoms"
    assert sorted(path.name for path in there.iterdir()) == sorted([ATOMS_FILE, MANIFEST_FILE, "README.md"])
    sent = "".join((there / name).read_text() for name in (MANIFEST_FILE, "README.md"))
    assert str(texts.parent) not in sent and str(MODEL_A.parent) not in sent and str(Path.home()) not in sent
    was = Dictionary.load(small.folder(said["id"]))
    assert torch.equal(Dictionary.load(there).atoms, was.atoms)  # as the card says
    alone = run(hub, tmp_path, "pull", "me/atoms", "--library", str(tmp_path / "b"), "--json")
    found = json.loads(alone.stdout)
    assert (found["atoms"], found["named"], found["confirmed"]) == (7, 7, 0)
    kept = Dictionary.load(Library(tmp_path / "b").folder(found["id"]))
    assert torch.equal(kept.atoms, was.atoms) and torch.equal(kept.sources, was.sources)
    assert Library(tmp_path / "b").record(found["id"]).relative_error is None
    read = ["--model", str(MODEL_A), "--corpus", str(texts), *FEW[:2]]
    again = run(hub, tmp_path, "pull", "me/atoms@main", "--library", str(tmp_path / "b"), *read, "--json")
    assert json.loads(again.stdout)["confirmed"] == 7, again.stderr
    listed = run(hub, tmp_path, "list", "--library", str(tmp_path / "b"))
    assert "no error measured" in listed.stdout and "relative error 0." in listed.stdout


def test_pushing_again_replaces_its_own_and_nothing_else(hub: Hub, small: Library, tmp_path: Path) -> None:
    pushed(hub, tmp_path, small, "me/again")
    pushed(hub, tmp_path, small, "me/again", "--with-text")
    other = hub.folder / "models" / "me" / "other"
    other.mkdir()
    (other / "README.md").write_text("mine")
    (dictionary_id,) = small.ids()
    arguments = ["push", dictionary_id, "me/other", "--library", str(small.root)]
    assert "holds README.md, which is not of" in refused(hub, tmp_path, *arguments, HF_TOKEN=WRITER)
    assert (other / "README.md").read_text() == "mine"
    assert "is there and public" in refused(hub, tmp_path, *arguments, "--private", HF_TOKEN=WRITER)
    pushed(hub, tmp_path, small, "me/other", "--overwrite")
    assert "ITDA dictionary" in (other / "README.md").read_text()


def test_texts_of_an_earlier_push_do_not_stay(hub: Hub, small: Library, tmp_path: Path) -> None:
    pushed(hub, tmp_path, small, "me/texts", "--with-text")
    there = hub.folder / "models" / "me" / "texts"
    assert (there / INDEX_FILE).is_file()
    other = write_library(tmp_path / "other")
    arguments = ["push", *other.ids(), "me/texts", "--library", str(other.root), "--json"]
    assert "is not of" in refused(hub, tmp_path, *arguments, HF_TOKEN=WRITER)
    done = run(hub, tmp_path, *arguments, "--overwrite", HF_TOKEN=WRITER)
    assert done.returncode == 0, done.stderr
    assert "earlier commits of me/texts still hold it" in done.stderr and "still hold it" not in done.stdout
    assert sorted(path.name for path in there.iterdir()) == sorted([ATOMS_FILE, MANIFEST_FILE, "README.md"])
    found = run(hub, tmp_path / "new", "pull", "me/texts", "--library", str(tmp_path / "b"), "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["atoms"] == 3


def test_what_another_commits_meanwhile_is_not_replaced(hub: Hub, small: Library, tmp_path: Path) -> None:
    pushed(hub, tmp_path, small, "me/busy")
    (hub.folder / ".moved" / "models" / "me" / "busy").mkdir(parents=True)
    arguments = ["push", *small.ids(), "me/busy", "--library", str(small.root)]
    assert "was made or changed by another" in refused(hub, tmp_path, *arguments, HF_TOKEN=WRITER)


def test_an_owner_whose_repositories_are_private_keeps_them_so(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / ".private-owners" / "lab").mkdir(parents=True)
    pushed(hub, tmp_path, write_library(tmp_path / "small"), "lab/inner")
    assert (hub.folder / ".private" / "models" / "lab" / "inner").exists()


def test_private_is_private(hub: Hub, small: Library, tmp_path: Path) -> None:
    pushed(hub, tmp_path, small, "me/hidden", "--private")
    assert (hub.folder / ".private" / "models" / "me" / "hidden").exists()
    pushed(hub, tmp_path, small, "me/hidden", "--private")  # it is there, and private


def test_what_the_hub_refuses_is_told_in_one_line(hub: Hub, small: Library, tmp_path: Path) -> None:
    (dictionary_id,) = small.ids()
    push = ["push", dictionary_id, "me/new", "--library", str(small.root)]
    pull = ["pull", "me/none", "--library", str(tmp_path / "b")]
    assert "set HF_TOKEN to one that may write" in refused(hub, tmp_path, *push)
    assert "does not let your token write to me/new" in refused(hub, tmp_path, *push, HF_TOKEN=READER)
    assert "does not know the token" in refused(hub, tmp_path, *push, HF_TOKEN=UNKNOWN_TOKEN)
    assert "no repository 'me/none' that your token may read" in refused(hub, tmp_path, *pull)
    pushed(hub, tmp_path, small, "me/open")
    (hub.folder / "models" / "me" / "gated").mkdir(exist_ok=True)
    for path in (hub.folder / "models" / "me" / "open").iterdir():
        shutil.copy(path, hub.folder / "models" / "me" / "gated")
    for repo, line in (("me/gated", "is gated: accept its terms"), ("me/open@v9", "has no revision 'v9'")):
        assert line in refused(hub, tmp_path, "pull", repo, "--library", str(tmp_path / "b"))
    assert Library(tmp_path / "b").ids() == []
    offline = hub_environment("http://127.0.0.1:9", tmp_path / "cache2", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in refused(offline, tmp_path, *pull)
    away = hub_environment("http://127.0.0.1:9", tmp_path / "cache3")
    assert "cannot be reached for me/none" in refused(away, tmp_path, *pull)


def test_what_is_not_as_its_manifest_says_is_not_taken(hub: Hub, small: Library, tmp_path: Path) -> None:
    pushed(hub, tmp_path, small, "me/honest", "--with-text")
    honest = hub.folder / "models" / "me" / "honest"
    manifest = json.loads((honest / MANIFEST_FILE).read_text())

    def spoil(what: str) -> str:
        there = hub.folder / "models" / "me" / f"spoilt-{what}"
        shutil.copytree(honest, there)
        changed = dict(manifest)
        if what == "atoms":
            content = bytearray((there / ATOMS_FILE).read_bytes())
            content[-1] ^= 1
            (there / ATOMS_FILE).write_bytes(content)
        elif what == "values":
            spoil_atoms(there, lambda dictionary: dictionary.atoms.fill_(torch.nan))
            changed = json.loads((there / MANIFEST_FILE).read_text())
        elif what == "index":
            (there / INDEX_FILE).write_bytes(b"no index")
            changed["files"] = manifest["files"] | {INDEX_FILE: hashlib.sha256(b"no index").hexdigest()}
        elif what == "id":
            changed["id"] = "../../elsewhere"
        elif what == "files":
            changed["files"] = {**manifest["files"], "../x": "0"}
        elif what == "none":
            (there / ATOMS_FILE).unlink()
        (there / MANIFEST_FILE).write_text(json.dumps(changed))
        return refused(hub, tmp_path, "pull", f"me/{there.name}", "--library", str(tmp_path / "b"))

    assert f"{ATOMS_FILE} is not the file that the manifest" in spoil("atoms")
    assert "atoms.safetensors cannot be read: atom 0 is zero or not finite" in spoil("values")
    assert f"{INDEX_FILE} of dictionary" in spoil("index")
    assert "names '../../elsewhere', which is no id" in spoil("id")
    assert "'../x' is not the name of a file" in spoil("files")
    assert "holds no dictionary" in spoil("none")
    assert Library(tmp_path / "b").ids() == []
    assert not (tmp_path / "elsewhere").exists()


def test_nothing_but_our_files_is_asked_for(hub: Hub, small: Library, tmp_path: Path) -> None:
    pushed(hub, tmp_path, small, "me/hostile", "--with-text")
    (hub.folder / "models" / "me" / "hostile" / "extra.py").write_text("raise SystemExit")
    before = len(hub.requests)
    done = run(hub, tmp_path, "pull", "me/hostile", "--library", str(tmp_path / "b"), "--json")
    assert done.returncode == 0, done.stderr
    asked = {line.split()[1].rpartition("/")[2] for line in hub.requests[before:] if "/resolve/" in line}
    assert asked == {MANIFEST_FILE, ATOMS_FILE, INDEX_FILE}
    folder = Library(tmp_path / "b").folder(json.loads(done.stdout)["id"])
    mapped = {"map.parquet", "map.parquet.sha256"}
    assert {path.name for path in folder.iterdir()} <= {MANIFEST_FILE, ATOMS_FILE, INDEX_FILE} | mapped


def test_a_dictionary_that_was_changed_is_not_pushed(hub: Hub, small: Library, tmp_path: Path) -> None:
    copy = Library(Path(shutil.copytree(small.root, tmp_path / "copy")))
    (dictionary_id,) = copy.ids()
    (copy.folder(dictionary_id) / ATOMS_FILE).write_bytes(b"")
    arguments = ["push", dictionary_id, "me/changed", "--library", str(copy.root)]
    assert "is not as it was built" in refused(hub, tmp_path, *arguments, HF_TOKEN=WRITER)
    assert not (hub.folder / "models" / "me" / "changed").exists()


# The card


def test_a_card_has_the_figures_and_a_strangers_text_is_no_markup(small: Library) -> None:
    record = small.record(small.ids()[0])
    own = Point(7, 6, {"ce_loss_score": Measured(0.91234, 0.9, 0.92), "relative_error": Measured(0.1, 0.1, 0.1)}, {})
    other = Point(3, 6, {"ce_loss_score": Measured(0.5, 0.4, 0.6)}, {})
    quality = Quality(record.id, 100, 10, 3.0, 9.0, (Series("itda", (other, own)),), 1.0)
    write_quality(quality, small.folder(record.id))
    (small.folder(record.id) / "quality.json").unlink()
    stranger = replace(
        record,
        model="<img src=x onerror=alert(1)>|[a](http://b)\n# c",
        corpus="`x`![y](z)",
        site=Site(3, "resid"),
        revision="v1",
    )
    text = card(stranger, "me/it", False, quality)
    assert "| CE loss score | 0.9123 (0.9 to 0.92, 95 % bootstrap over documents) |" in text
    assert "0.5" not in text
    body = text.split("---\n", 2)[2]
    assert "<img" not in body and "](http://b" not in body and "![y]" not in body and "\n# c" not in body
    assert "base_model" not in text  # it is no id of the Hub
    assert "base_model: owner/name" in card(replace(record, model="owner/name", revision="v1"), "me/it", True, None)
    assert 'snapshot_download("me/it")' in text
    assert "| recipe |" not in text
    pruned = replace(record, settings=replace(record.settings, recipe="pruned"))
    assert "| recipe | pruned |" in card(pruned, "me/it", False, None)


def test_figures_of_another_dictionary_are_not_on_a_card(hub: Hub, tmp_path: Path) -> None:
    small = write_library(tmp_path / "small")
    (dictionary_id,) = small.ids()
    point = Point(3, 2, {"ce_loss_score": Measured(0.9, 0.8, 1.0)}, {})
    write_quality(Quality("another", 100, 10, 3.0, 9.0, (Series("itda", (point,)),), 1.0), small.folder(dictionary_id))
    arguments = ["push", dictionary_id, "me/figures", "--library", str(small.root)]
    assert "is of another dictionary" in refused(hub, tmp_path, *arguments, HF_TOKEN=WRITER)


def test_inert_text_reads_as_it_is() -> None:
    assert inert("docs-a, layer 3/4 = 0.5 %") == "docs-a, layer 3/4 = 0.5 %"
    assert inert("a*b_c|<d>") == "a&#42;b&#95;c&#124;&#60;d&#62;"
