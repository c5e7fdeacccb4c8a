"""Files with a column of texts, and compressed files: what is read, and what is said of those that cannot be."""

import bz2
import csv
import gzip
import io
import itertools
import json
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itda_core.common.errors import UserError
from itda_core.common.settings import CorpusSettings
from itda_core.common.types import Document
from itda_core.corpus import text_files, text_tables
from itda_core.corpus.readers import check_corpus, read_documents
from tests.support.corpora import read, refusal, unicode_text, write


def zst(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(raw)
    return sink.getvalue().to_pybytes()


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zst}


def tar(raw: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = len(raw)
        archive.addfile(entry, io.BytesIO(raw))
    return sink.getvalue()


def texts(path: Path, **more) -> list[str]:
    return [document.text for document in read(path, **more)]


def test_ndjson_is_json_lines(tmp_path):
    path = write(tmp_path / "a.ndjson", '{"text": "one"}\n\n"two"\n')
    assert read(path) == [Document("line 1", "one"), Document("line 3", "two")]


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "one", "n": 1}, {"text": "two"}]',
        '[\n  {"text": "one"},\n  {"text": "two"}\n]\n',
        '["one", "two"]',
        '{"text": ["one", "two"], "n": [1, 2]}',
        '{\n"text": {"0": "one", "1": "two"}}',  # as pandas writes a table
        '{"version": 1, "labels": [], "data": [{"text": "one"}, {"text": "two"}]}',
        '{\n"data": [\n{"text": "one"}, {"text": "two"}]}\n',
    ],
)
def test_json_gives_a_document_a_row(tmp_path, content):
    assert read(write(tmp_path / "a.json", content)) == [Document("row 0", "one"), Document("row 1", "two")]


def test_json_may_be_json_lines_under_that_name(tmp_path):
    path = write(tmp_path / "a.json", '\n{"text": "one"}\n{"text": "two"}\n')
    assert read(path) == [Document("line 2", "one"), Document("line 3", "two")]
    assert texts(write(path, '{"text": "one"}')) == ["one"]
    assert texts(write(path, '{\n"text": "one"\n}')) == ["one"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1, 2", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("7", "holds neither an array nor an object"),
        ("[7]", "row 0 of {path} is not a JSON object"),
        ('["a", null]', "row 1 of {path} is not a JSON object"),
        ('[{"text": "a"}, {"body": "b"}]', "row 1 of {path} has no column 'text': name one of 'body'"),
        ('[{"text": null}]', "row 0 of {path} has null in 'text', not text"),
        ('["\\ud800"]', "row 0 of {path} has half a surrogate pair"),
        ('{"text": ["a", 7]}', "row 1 of {path} has int in 'text', not text"),
        ('{\n"body": ["a"]}', "{path} has no column 'text': name one of 'body'"),
        ('{"body": ["a"]}', "has no column 'text': name one of 'body'"),
        ('{"a": [{"text": "x"}], "b": [{"text": "y"}]}', "has no column 'text': name one of 'a', 'b'"),
        ('{"a": [{"text": "x"}]}\n{"a": []}\n', "line 1 of {path} has no column 'text': name one of 'a'"),
        ('{"data": [{"text": "x"}, {"body": "y"}]}', "row 1 of {path} has no column 'text': name one of 'body'"),
        ("[]", "holds no text"),
        ("", "holds no text"),
        (b'["\xff"]', "is not UTF-8 at byte 2"),
    ],
)
def test_bad_json_is_told(tmp_path, content, told):
    path = write(tmp_path / "a.json", content)
    assert told.format(path=repr(str(path))) in refusal(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_gives_a_document_a_record(tmp_path, end):
    lines = ["n,text", '1,"one, ""quoted""', 'and on"', "", "2,", "3,three"]
    path = write(tmp_path / "a.csv", "\ufeff" + end.join(lines))
    expected = [f'one, "quoted"{end}and on', "", "three"]
    assert read(path) == [Document(f"line {line}", text) for line, text in zip((2, 5, 6), expected, strict=True)]
    assert texts(path, column="n") == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_header(tmp_path, name, delimiter):
    path = write(tmp_path / name, delimiter.join(["n", "text"]) + "\n" + delimiter.join(["1", "one"]))
    assert texts(path) == ["one"]


@pytest.mark.parametrize("before", ["\n", "\r\n \r\n", "sep=;\r\n", "\nsep=;\n\n"])
def test_lines_before_the_header_are_none_of_the_table(tmp_path, before):
    path = write(tmp_path / "a.csv", f'{before}n;"text, all"\n1;one\n2;"two\n')
    documents = read_documents(CorpusSettings(str(path), column="text, all"))
    line = before.count("\n") + 2
    assert next(documents) == Document(f"line {line}", "one")
    with pytest.raises(UserError, match=f"the record from line {line + 1} of "):
        next(documents)
    assert "holds no text" in refusal(write(path, before))


@settings(deadline=None, max_examples=50)
@given(st.lists(unicode_text.filter(lambda text: "\0" not in text)), st.sampled_from(["excel", "excel-tab", "unix"]))
def test_any_text_comes_back_from_csv(tmp_path_factory, rows, dialect):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, dialect).writerows([["n", "text"], *([i, text] for i, text in enumerate(["some text", *rows]))])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", buffer.getvalue())
    assert texts(path) == ["some text", *rows]


def test_a_field_of_csv_may_be_long(tmp_path):
    assert texts(write(tmp_path / "a.csv", "text\n" + "x" * 200_000)) == ["x" * 200_000]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a,text,text\n1,2,3\n", "line 1 of {path} has the column 'text' twice: rename all but one"),
        ("id,body\n1,2\n", "line 1 of {path} has no column 'text': name one of 'id', 'body'"),
        ("text\nHello, world\n", "line 2 of {path} has 2 fields where the header has 1: put quotes"),
        ("n,text\n1,a\n\n2\n", "line 4 of {path} has 1 fields where the header has 2"),
        ('text\n"a\nb"\n"cut\nshort\n', "the record from line 4 of {path} on cannot be read"),
        ('text\n"a"b\n', "the record from line 2 of {path} on cannot be read"),
        ("text\n", "holds no text"),
        ("", "holds no text"),
        (b"text\nok\n\xe9t\xe9\n", "is not UTF-8 at byte 8"),
        ("n\ttext\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("n\ttext\n".encode("utf-16-le"), "is UTF-16: save it as UTF-8"),
    ],
)
def test_bad_csv_is_told(tmp_path, content, told):
    path = write(tmp_path / "a.csv", content)
    assert told.format(path=repr(str(path))) in refusal(path)


def test_parquet_with_a_column_twice_or_a_name_that_is_no_text(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    assert "has the column 'text' twice: rename all but one of them" in refusal(path)
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["n", "n", "text"]), path)
    assert texts(path) == ["c"]
    schema = pa.schema([pa.field(b"te\xff", pa.string()), pa.field("text", pa.string())])
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], schema=schema), path)
    assert "has the name of a column that is not UTF-8: write the file again" in refusal(path)


CONTENTS = {
    "a.txt": "plain text",
    "a.md": "plain text",
    "a.jsonl": '{"text": "one"}\n{"text": "two"}\n',
    "a.ndjson": '{"text": "one"}\n{"text": "two"}\n',
    "a.json": '["one", "two"]',
    "a.csv": 'text,n\n"one",1\n"two\nlines",2\n',
    "a.tsv": "text\tn\none\t1\n",
}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("name", CONTENTS)
def test_compressed_files_are_read_as_what_is_in_them(tmp_path, name, packed):
    raw = b"\xef\xbb\xbf" + CONTENTS[name].encode()
    plain = read(write(tmp_path / name, raw))
    path = write(tmp_path / (name + packed), PACKERS[packed](raw))
    assert [document.text for document in read(path)] == [document.text for document in plain]
    # The first bytes tell, not the name; and a file may be several, one after the other.
    assert texts(write(tmp_path / name, PACKERS[packed](raw[:9]) + PACKERS[packed](raw[9:]))) == [d.text for d in plain]
    assert texts(write(path, raw)) == [document.text for document in plain]
    longer = {".gz": ".gzip", ".bz2": ".bzip2", ".zst": ".zstd"}[packed]
    assert texts(write(tmp_path / (name + longer), PACKERS[packed](raw))) == [document.text for document in plain]


@pytest.mark.parametrize("packed", PACKERS)
def test_a_compressed_file_that_is_damaged_is_told(tmp_path, packed):
    whole = PACKERS[packed](b"".join(b"line %d\n" % n for n in range(5000)))
    path = tmp_path / ("a.txt" + packed)
    assert "cannot be read: " in refusal(write(path, whole[: len(whole) // 2]))
    assert "cannot be read: " in refusal(write(path, whole + b"garbage"))
    assert "is not UTF-8 at byte 5000003" in refusal(write(path, PACKERS[packed](b"abcde" * 10**6 + b"abc\xff")))
    assert "holds no text" in refusal(write(path, PACKERS[packed](b"")))
    assert "NUL bytes" in refusal(write(path, PACKERS[packed](bytes(100))))
    assert "unpack it first" in refusal(write(tmp_path / ("a.parquet" + packed), whole))
    assert "is compressed twice: unpack it once" in refusal(write(path, PACKERS[packed](gzip.compress(whole))))


def test_what_unpacks_to_very_much_is_read_as_a_stream(tmp_path):
    paths = [
        write(tmp_path / "a.txt.zst", zst(b"a word " * 2**24)),
        write(tmp_path / "a.csv.zst", zst(b"text\n" + b"a word\n" * 2**24)),
    ]
    tracemalloc.start()
    try:
        for path in paths:
            first = list(itertools.islice(read_documents(CorpusSettings(str(path))), 100))
            assert len(first) == 100
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # each is 117 MB once unpacked


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", '{"text": "' + "x" * 2000 + '"}', "a line of {path} is longer than 1,000 characters: write one"),
        ("a.json", "[" + '"xx",' * 300 + '"x"]', "a line of {path} is longer than 1,000 characters: write one object"),
        ("a.json", "[\n" + '"xx",\n' * 300 + '"x"]', "{path} is longer than 1,000 characters: write one object a line"),
        ("a.csv", "text\n" + "x" * 2000, "the record from line 2 of {path} on is longer than 1,000 characters"),
        ("a.csv", 'text\nok\n"' + "x\n" * 2000, "the record from line 3 of {path} on is longer than 1,000 characters"),
    ],
)
def test_what_has_to_be_in_memory_at_once_is_bounded(tmp_path, monkeypatch, name, content, told):
    for module in (text_files, text_tables):
        monkeypatch.setattr(module, "LONGEST", 1000)
    path = write(tmp_path / name, content)
    assert told.format(path=repr(str(path))) in refusal(path)
    assert told.format(path=repr(str(path.with_suffix(f"{path.suffix}.gz")))) in refusal(
        write(path.with_suffix(f"{path.suffix}.gz"), gzip.compress(content.encode()))
    )


def test_a_file_of_a_folder_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST", 1000)
    for number in range(10):
        write(tmp_path / f"{number}.txt", "word " * (500 if number == 5 else 5))
    assert "5.txt' is longer than 1,000 characters: cut it into several files" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"%PDF-1.7\n", "is a PDF: save its text"),
        (b"PK\x03\x04" + bytes(20), "is a ZIP archive, as .docx"),
        (b"\xd0\xcf\x11\xe0" + bytes(20), "is a document of an office program"),
        (b"{\\rtf1\\ansi text}", "is a Rich Text document"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
        (b"\xfd7zXZ\x00", "is compressed with xz"),
        (b"PAR1" + bytes(20), "name that ends in .parquet"),
        ("text".encode("utf-16"), "is UTF-16"),
        ("text".encode("utf-16-le"), "is UTF-16"),
        ("text".encode("utf-16-be"), "is UTF-16"),
        ("text".encode("utf-32"), "is UTF-32"),
        (b"ARROW1\0\0" + bytes(20), "is an Arrow file: save it as a .parquet file"),
        (b"SQLite format 3\0" + bytes(20), "is a SQLite database"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is only a pointer of Git LFS: fetch",
        ),
        (tar(b"text"), "is a tar archive: unpack it"),
    ],
)
@pytest.mark.parametrize("name", ["a.pdf", "a", "a.txt", "a.jsonl", "a.csv.gz"])
def test_what_is_known_not_to_be_text_is_told_before_it_is_read(tmp_path, name, content, told):
    path = write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(UserError) as caught:
        check_corpus(CorpusSettings(str(path)))
    assert told in str(caught.value)
    assert told in refusal(path)


def test_names_of_columns_are_cut_where_they_are_shown(tmp_path):
    record = {"x" * 5000 + str(n): "" for n in range(30)}
    assert len(refusal(write(tmp_path / "a.jsonl", json.dumps(record)))) < 2500
