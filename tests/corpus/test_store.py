"""The stored corpus: what is stored comes back, its id means its texts, and damage is told, never read."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itda_core.common import files
from itda_core.common.errors import DamagedError, NewerError, UserError
from itda_core.common.layout import MANIFEST_FILE
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.corpus import store as corpus_module
from itda_core.corpus.store import DOCUMENTS_FILE, FORMAT_VERSION, Corpus, ingest
from tests.support.places import REPOSITORY

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))


def write_lines(path: Path, texts) -> CorpusSettings:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return CorpusSettings(str(path))


def store(root: Path, texts, **cut) -> Corpus:
    return ingest(write_lines(root / "notes.jsonl", texts), WindowSettings(**cut), root / "corpora")


def hash_of(root: Path, texts, **cut) -> str:
    return store(root, texts, **cut).id[-12:]


@pytest.fixture
def corpus(tmp_path):
    return store(tmp_path, ["one", "", "three"], context=64)


def test_a_corpus_comes_back_as_it_was_stored(corpus, tmp_path):
    assert corpus.id.startswith("notes-jsonl-") and corpus.folder == tmp_path / "corpora" / corpus.id
    assert (corpus.n_documents, corpus.n_characters) == (3, 8)
    assert corpus.settings == CorpusSettings(str(tmp_path / "notes.jsonl")) and corpus.cut == WindowSettings(context=64)
    assert list(corpus.documents()) == [Document("line 1", "one"), Document("line 2", ""), Document("line 3", "three")]
    assert Corpus.open(corpus.folder) == corpus
    assert list(corpus.verify()) == []
    assert sorted(path.name for path in corpus.folder.iterdir()) == [DOCUMENTS_FILE, MANIFEST_FILE]
    assert [path.name for path in corpus.folder.parent.iterdir()] == [corpus.id]


def test_the_file_is_parquet_in_row_groups_with_zstd(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "GROUP_DOCUMENTS", 10)
    seen = []
    settings = write_lines(tmp_path / "a.jsonl", [f"text {number}" for number in range(25)])
    corpus = ingest(settings, WindowSettings(), tmp_path, seen.append)
    assert seen == [10, 20, 25]
    metadata = pq.read_metadata(corpus.folder / DOCUMENTS_FILE)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [10, 10, 5]
    assert metadata.row_group(0).column(1).compression == "ZSTD"
    assert metadata.schema.names == ["name", "text"]
    everything = list(corpus.documents())
    for start in (0, 1, 9, 10, 11, 24, 25, 99):
        assert list(corpus.documents(start)) == everything[start:]
    with pytest.raises(ValueError):
        corpus.documents(-1)


def test_long_documents_make_short_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "GROUP_CHARACTERS", 100)
    corpus = store(tmp_path, ["x" * 60] * 5)
    metadata = pq.read_metadata(corpus.folder / DOCUMENTS_FILE)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [2, 2, 1]


def test_documents_are_not_held_in_memory(tmp_path, monkeypatch):
    """When a row group is written, the documents after it have not been read."""
    monkeypatch.setattr(corpus_module, "GROUP_DOCUMENTS", 5)
    read, seen = [], []

    def documents(settings, context):
        for number in range(20):
            read.append(number)
            yield Document("", "text")

    monkeypatch.setattr(corpus_module, "read_documents", documents)
    ingest(CorpusSettings("docs"), WindowSettings(), tmp_path, lambda count: seen.append((count, len(read))))
    assert seen == [(5, 5), (10, 10), (15, 15), (20, 20)]


@settings(deadline=None, max_examples=50)
@given(st.lists(unicode_text))
def test_any_text_comes_back(tmp_path_factory, texts):
    corpus = store(tmp_path_factory.mktemp("any"), ["some text", *texts])
    assert [document.text for document in corpus.documents()] == ["some text", *texts]
    assert list(corpus.verify()) == []


def test_the_hash_is_that_of_the_texts_their_order_and_their_cut(tmp_path):
    digest = hash_of(tmp_path, ["a", "b"])
    assert digest == hash_of(tmp_path, ["a", "b"])
    others = [
        hash_of(tmp_path, ["b", "a"]),
        hash_of(tmp_path, ["ab", ""]),
        hash_of(tmp_path, ["", "ab"]),
        hash_of(tmp_path, ["ab"]),
        hash_of(tmp_path, ["a", "b"], context=64),
        hash_of(tmp_path, ["a", "b"], windows="all"),
        hash_of(tmp_path, ["a", "b"], keep_first=True),
    ]
    assert len({digest, *others}) == len(others) + 1


def test_the_hash_does_not_depend_on_where_the_texts_were_read_from(tmp_path):
    texts = ["gr\u00fc\u00df dich", "", "a\r\nb"]
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_bytes(text.encode())
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    ids = [
        ingest(CorpusSettings(str(tmp_path / name)), WindowSettings(), tmp_path).id for name in ("folder", "a.parquet")
    ]
    ids.append(store(tmp_path, texts).id)
    assert len({identifier[-12:] for identifier in ids}) == 1
    assert [identifier[:-13] for identifier in ids] == ["folder", "a-parquet", "notes-jsonl"]


@pytest.mark.parametrize(
    ("spec", "readable"),
    [("docs", "docs"), ("NeelNanda/pile-10k", "pile-10k"), ("some/where/Notes.txt", "notes-txt"), ("a/b/", "b")],
)
def test_the_id_is_readable(tmp_path, monkeypatch, spec, readable):
    monkeypatch.setattr(corpus_module, "read_documents", lambda settings, context: iter([Document("", "text")]))
    assert ingest(CorpusSettings(spec), WindowSettings(), tmp_path).id[:-13] == readable


def test_passages_of_a_text_are_as_long_as_the_windows(tmp_path):
    (tmp_path / "a.txt").write_text("Some words of a sentence. " * 1000)
    corpora = [
        ingest(CorpusSettings(str(tmp_path / "a.txt")), WindowSettings(context), tmp_path) for context in (64, 128)
    ]
    assert [len(next(corpus.documents()).text) for corpus in corpora] == [9 * 26, 19 * 26]
    for corpus in corpora:
        assert "".join(document.text for document in corpus.documents()) == "Some words of a sentence. " * 1000
        assert list(corpus.verify()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", "a-jsonl-8ca702a64c8f"), ("a.parquet", "a-parquet-8ca702a64c8f"), ("folder", "folder-8ca702a64c8f")],
)
def test_ids_of_corpora_with_documents_of_their_own_are_those_they_always_had(tmp_path, name, expected):
    texts = [f"Text {number}. " * 200 for number in range(10)]
    write_lines(tmp_path / "a.jsonl", texts)
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    (tmp_path / "folder").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "folder" / f"{number}.txt").write_text(text)
    assert ingest(CorpusSettings(str(tmp_path / name)), WindowSettings(), tmp_path).id == expected


def test_a_corpus_that_is_there_is_reused(corpus, tmp_path):
    stamp = (corpus.folder / DOCUMENTS_FILE).stat().st_mtime_ns
    assert store(tmp_path, ["one", "", "three"], context=64) == corpus
    assert (corpus.folder / DOCUMENTS_FILE).stat().st_mtime_ns == stamp
    assert [path.name for path in corpus.folder.parent.iterdir()] == [corpus.id]


def test_two_processes_may_ingest_the_same_corpus_at_once(tmp_path):
    write_lines(tmp_path / "a.jsonl", [f"text {number}" for number in range(3000)])
    code = """
import sys, time
from pathlib import Path
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.corpus.store import ingest
# Neither goes on before the other has written as much, so both have written everything before one renames.
def meet(count):
    Path(f"met-{sys.argv[1]}-{count}").touch()
    while not Path(f"met-{1 - int(sys.argv[1])}-{count}").exists():
        time.sleep(0.001)
print(ingest(CorpusSettings("a.jsonl"), WindowSettings(), Path("corpora"), meet).id)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    both = [
        subprocess.Popen([*command, str(which)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        for which in (0, 1)
    ]
    first, second = (process.communicate(timeout=60)[0].strip() for process in both)
    assert first and first == second
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == [first]
    assert list(Corpus.open(tmp_path / "corpora" / first).verify()) == []


def test_a_failed_ingest_leaves_nothing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"text": 1}\n')
    with pytest.raises(UserError, match="line 2"):
        ingest(CorpusSettings(str(tmp_path / "a.jsonl")), WindowSettings(), tmp_path / "corpora")
    assert list((tmp_path / "corpora").iterdir()) == []


@pytest.mark.parametrize("crash", ["in the documents", "before the rename"])
def test_what_a_crash_leaves_is_no_corpus(tmp_path, crash):
    settings = write_lines(tmp_path / "a.jsonl", ["text"])
    code = f"""
import os, sys
from pathlib import Path
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.corpus.store import ingest
def die(*arguments):
    os._exit(9)
if {crash!r} == "before the rename":
    Path.rename = die
ingest(CorpusSettings({settings.spec!r}), WindowSettings(), Path({str(tmp_path / "corpora")!r}),
       die if {crash!r} == "in the documents" else None)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    (left,) = (tmp_path / "corpora").iterdir()
    assert left.name.startswith(".")
    for folder in (left, *left.iterdir()):
        with pytest.raises(DamagedError):
            Corpus.open(folder)
    assert list(ingest(settings, WindowSettings(), tmp_path / "corpora").verify()) == []


def test_an_unwritable_library_is_an_error_of_the_system(tmp_path):
    settings = write_lines(tmp_path / "a.jsonl", ["text"])
    with pytest.raises(OSError):
        ingest(settings, WindowSettings(), tmp_path / "a.jsonl")


def test_missing_parts_are_damage(corpus, tmp_path):
    with pytest.raises(DamagedError, match="cannot be read"):
        Corpus.open(tmp_path / "nowhere")
    (corpus.folder / DOCUMENTS_FILE).unlink()
    with pytest.raises(DamagedError, match=f"has no {DOCUMENTS_FILE}"):
        Corpus.open(corpus.folder)
    with pytest.raises(DamagedError, match="cannot be read"):
        list(corpus.documents())
    assert [DOCUMENTS_FILE in line for line in corpus.verify()] == [True]
    (corpus.folder / MANIFEST_FILE).unlink()
    assert [MANIFEST_FILE in line for line in corpus.verify()] == [True]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "x"),
        ("format", True),
        ("id", "another-0123456789ab"),
        ("id", None),
        ("documents", -1),
        ("documents", "3"),
        ("documents", True),
        ("characters", 1.5),
        ("files", None),
        ("files", {}),
        ("files", {DOCUMENTS_FILE: 7}),
        ("settings", None),
        ("settings", []),
        ("settings", {"command": "rm"}),
        ("settings.spec", 1),
        ("settings.spec", ""),
        ("settings.documents", 0),
        ("settings.documents", True),
        ("cut", None),
        ("cut.context", "128"),
        ("cut.context", 1),
        ("cut.keep_first", 1),
        ("cut.windows", "some"),
    ],
)
def test_a_manifest_is_not_trusted(corpus, field, value):
    path = corpus.folder / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    where = manifest
    *parents, last = field.split(".")
    for parent in parents:
        where = where[parent]
    where[last] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(DamagedError) as caught:
        Corpus.open(corpus.folder)
    assert "delete the folder and ingest the corpus again" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["format", "id", "settings", "cut", "documents", "characters", "files"])
def test_a_manifest_that_lacks_a_field_is_damage(corpus, field):
    path = corpus.folder / MANIFEST_FILE
    said = json.loads(path.read_text())
    del said[field]
    path.write_text(json.dumps(said))
    with pytest.raises(DamagedError, match="delete the folder and ingest the corpus again"):
        Corpus.open(corpus.folder)


def test_a_manifest_of_a_newer_version_is_not_called_damaged(corpus):
    path = corpus.folder / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT_VERSION + 1}))
    with pytest.raises(NewerError, match="update ITDA Explorer") as caught:
        Corpus.open(corpus.folder)
    assert "delete" not in str(caught.value)
    assert len(list(corpus.verify())) == 1


def test_names_that_a_manifest_has_besides_are_passed_over(corpus):
    path = corpus.folder / MANIFEST_FILE
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"settings": said["settings"] | {"more": 1}, "more": 2}))
    assert Corpus.open(corpus.folder) == corpus


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"a": NaN}', '{"a": "\\ud800"}', "[" * 100_000, b"\xff"])
def test_a_manifest_that_is_no_json_object_is_damage(corpus, content):
    (corpus.folder / MANIFEST_FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DamagedError):
        Corpus.open(corpus.folder)


def test_a_renamed_folder_is_no_corpus(corpus):
    renamed = corpus.folder.rename(corpus.folder.with_name("other-" + corpus.id))
    with pytest.raises(DamagedError, match="another id"):
        Corpus.open(renamed)


def test_a_damaged_corpus_is_not_reused(corpus, tmp_path):
    (corpus.folder / MANIFEST_FILE).write_text("{}")
    with pytest.raises(DamagedError):
        store(tmp_path, ["one", "", "three"], context=64)


def test_changed_documents_are_found(corpus):
    path = corpus.folder / DOCUMENTS_FILE
    sound = path.read_bytes()
    path.write_bytes(sound[:-20])
    with pytest.raises(DamagedError, match="cannot be read"):
        list(corpus.documents())
    assert ["SHA-256 differs" in line for line in corpus.verify()] == [True]
    pq.write_table(pa.table({"name": ["a"], "other": ["b"]}), path)
    with pytest.raises(DamagedError, match="other columns"):
        list(corpus.documents())


def test_texts_changed_together_with_the_manifest_are_found(corpus):
    path, manifest = corpus.folder / DOCUMENTS_FILE, corpus.folder / MANIFEST_FILE
    table = pq.read_table(path)
    forged = pa.table([table["name"], pa.chunked_array([["one", "", "forge"]])], schema=table.schema)
    pq.write_table(forged, path)
    files.write_json(manifest, {**files.read_json(manifest), "files": {DOCUMENTS_FILE: files.sha256_of(path)}})
    assert [line for line in corpus.verify() if "other texts" in line]
    assert [line for line in replace(corpus, n_documents=4).verify() if "another number of documents" in line]


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"text": "gr\u00fc\u00df", "n": [1, None]})
    assert files.read_json(path) == {"text": "gr\u00fc\u00df", "n": [1, None]}
    for bad in (float("nan"), object(), "\ud800"):
        with pytest.raises((ValueError, TypeError)):
            files.write_json(path, {"bad": bad})
    assert files.read_json(path) == {"text": "gr\u00fc\u00df", "n": [1, None]}
    assert list(tmp_path.iterdir()) == [path]


@given(st.text(), st.integers(1, 50))
def test_a_slug_is_safe_and_short(text, limit):
    made = files.slug(text, limit)
    assert made == "unnamed" or (len(made) <= limit and made == files.slug(made, limit))
    assert made.strip("-") == made and set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_slug_is_readable():
    assert files.slug("Notes, vom J\u00e4nner.txt") == "notes-vom-janner-txt"
    assert files.slug("\u65e5\u672c") == "unnamed"
    assert files.slug("ab cd", 3) == "ab"
