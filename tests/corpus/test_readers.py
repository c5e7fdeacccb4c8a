"""Reading corpora: what is read, in which order, and what a user is told when it cannot be read."""

import itertools
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itda_core.common.settings import CorpusSettings
from itda_core.common.types import Document
from itda_core.corpus import readers
from itda_core.corpus.readers import HUB_DOCUMENTS, read_documents
from tests.support.corpora import read, refusal, unicode_text, write, write_parquet
from tests.support.hub_server import UNKNOWN_TOKEN, hub_environment, serve
from tests.support.processes import run_python


def test_the_module_loads_neither_torch_nor_the_libraries_of_formats():
    code = "import sys, itda_core.corpus.readers; print({'torch', 'pyarrow', 'datasets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_docs_is_the_installed_documentation(monkeypatch):
    documents = [Document(str(number), "text") for number in range(5)]
    monkeypatch.setattr(readers, "read_documentation", lambda: iter(documents))
    assert read("docs") == documents
    assert read("docs", documents=2) == documents[:2]


@pytest.mark.parametrize("name", ["notes.txt", "NOTES.MD", "table.html", "no suffix", "gr\u00fc\u00df.txt"])
def test_a_short_file_is_one_document_unchanged(tmp_path, name):
    text = "one\r\ntwo\u2028three \n\n"
    assert read(write(tmp_path / name, text)) == [Document(name, text)]


def test_a_long_text_is_cut_into_passages(tmp_path):
    paragraphs = [f"Paragraph {number}. " + "It goes on. " * 30 + "\r\n\r\n" for number in range(40)]
    path = write(tmp_path / "notes.txt", "\ufeff" + "".join(paragraphs))
    documents = read(path)
    assert [document.text for document in documents] == paragraphs
    assert [document.name for document in documents] == [f"notes.txt, part {number}" for number in range(1, 41)]
    assert read(path, documents=3) == documents[:3]
    assert [document.text for document in read_documents(CorpusSettings(str(path)), context=256)] == [
        one + other for one, other in zip(paragraphs[::2], paragraphs[1::2], strict=True)
    ]
    assert len(list(read_documents(CorpusSettings(str(path)), context=2**63 - 1))) >= 10


def test_a_text_of_some_paragraphs_has_a_passage_to_hold_out(tmp_path):
    text = "A paragraph of a letter, which has a few words.\n\n" * 9
    documents = read(write(tmp_path / "letter.txt", text))
    assert 10 <= len(documents) <= 20
    assert "".join(document.text for document in documents) == text


def test_a_folder_of_fewer_than_ten_files_is_cut_and_a_larger_one_is_not(tmp_path):
    contents = {f"{number}.txt": f"File {number}. " * (number * 100 + 1) for number in range(9)}
    for name, text in contents.items():
        write(tmp_path / name, text)
    documents = read(tmp_path)
    assert documents[:2] == [Document("0.txt", contents["0.txt"]), Document("1.txt, part 1", documents[1].text)]
    assert "".join(document.text for document in documents) == "".join(contents.values())
    assert [document.name.partition(",")[0] for document in documents] == sorted(
        document.name.partition(",")[0] for document in documents
    )
    assert max(len(document.text) for document in documents) <= 512
    write(tmp_path / "9.txt", "")
    assert read(tmp_path) == [*(Document(name, text) for name, text in contents.items()), Document("9.txt", "")]


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert read(write(tmp_path / "a.txt", "\ufefftext\ufeff")) == [Document("a.txt", "text\ufeff")]
    lines = write(tmp_path / "a.jsonl", '\ufeff{"text": "a"}\n')
    assert read(lines) == [Document("line 1", "a")]


def test_a_file_whose_name_is_not_utf_8_gets_a_name_that_can_be_stored(tmp_path):
    try:
        write(tmp_path / os.fsdecode(b"\xff.txt"), "text")
    except OSError:
        pytest.skip("this file system refuses such a name")
    assert read(tmp_path) == [Document("\N{REPLACEMENT CHARACTER}.txt", "text")]


def test_a_folder_gives_its_text_files_in_order(tmp_path):
    for name in ("b.txt", "a/z.md", "a/a.txt", "a.txt", "c.TXT", "skipped.py", "empty.md"):
        write(tmp_path / name, "" if name == "empty.md" else name)
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    names = ["a.txt", "a/a.txt", "a/z.md", "b.txt", "c.TXT", "empty.md"]
    documents = read(tmp_path)
    assert [document.name for document in documents] == names
    assert [document.text for document in documents] == [*names[:-1], ""]
    assert read(tmp_path, documents=2) == documents[:2]


def test_a_link_may_not_lead_outside_the_folder(tmp_path):
    folder = tmp_path / "folder"
    write(folder / "a.txt", "inside")
    (folder / "b.txt").symlink_to("a.txt")
    assert [document.text for document in read(folder)] == ["inside", "inside"]
    secret = write(tmp_path / "secret.txt", "secret")
    (folder / "linked").symlink_to(tmp_path)
    assert len(read(folder)) == 2
    (folder / "c.txt").symlink_to(secret)
    assert "c.txt" in (message := refusal(folder)) and "outside the folder" in message


@pytest.mark.parametrize("target", ["gone.txt", "link.txt"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path, target):
    write(tmp_path / "a.txt", "text")
    (tmp_path / "link.txt").symlink_to(target)
    assert "link.txt' cannot be read" in refusal(tmp_path)


def test_jsonl_gives_a_document_a_line(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "one", "n": 1}\n\n  \r\n{"text": ""}\r\n{"text": "\\u0000\u2028"}')
    assert read(path) == [Document("line 1", "one"), Document("line 4", ""), Document("line 5", "\0\u2028")]
    assert read(path, documents=1) == [Document("line 1", "one")]
    assert read(write(tmp_path / "b.JSONL", '{"body": "x"}'), column="body") == [Document("line 1", "x")]


def test_jsonl_is_streamed(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "good"}\nnot JSON\n')
    assert list(itertools.islice(read_documents(CorpusSettings(str(path))), 1)) == [Document("line 1", "good")]


@settings(deadline=None)
@given(st.lists(unicode_text))
def test_any_text_comes_back_from_jsonl_and_parquet(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("round-trip")
    texts = ["some text", *texts]
    lines = write(folder / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    raw_lines = write(folder / "b.jsonl", "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts))
    rows = write_parquet(folder / "a.parquet", text=texts)
    for path in (lines, raw_lines, rows):
        assert [document.text for document in read(path)] == texts


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{'text': 1}", "is not JSON"),
        ('{"text": "cut sh', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"text": "a", "n": ' + "9" * 5_000 + "}", "is not JSON"),
        ('["text"]', "is not a JSON object"),
        ('{"body": "b", "title": "t"}', "has no column 'text': name one of 'body', 'title'"),
        ("{}", "has no column 'text'"),
        ('{"text": null}', "has null in 'text', not text"),
        ('{"text": 7}', "has int in 'text', not text"),
        ('{"text": "a\\ud800b"}', "has half a surrogate pair (\\ud800)"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, told):
    message = refusal(write(tmp_path / "a.jsonl", '{"text": "good"}\n\n' + line + "\n"))
    assert message.startswith("line 3 of ") and told in message


def test_parquet_gives_a_document_a_row_and_reads_one_column(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=["a", "", "c", "d"], n=[1, 2, 3, 4])
    documents = [Document("row 0", "a"), Document("row 1", ""), Document("row 2", "c"), Document("row 3", "d")]
    assert read(path) == documents
    assert read(path, documents=3) == documents[:3]
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert read(write_parquet(tmp_path / "b.parquet", text=pa.array(["a", "b"]).cast(kind))) == [
            Document("row 0", "a"),
            Document("row 1", "b"),
        ]


def test_a_bad_row_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    assert refusal(write_parquet(path, text=["a", "b", "c", None])).startswith("row 3 of ")
    assert "has int in 'text'" in refusal(write_parquet(path, text=[1, 2]))
    assert "name one of 'text', 'n'" in refusal(write_parquet(path, text=["a"], n=[1]), column="body")
    not_utf_8 = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"\xff"]).buffers())
    message = refusal(write_parquet(path, text=not_utf_8))
    assert message.startswith("row 1 of ") and "UTF-8" in message


@pytest.mark.parametrize("content", [b"", b"not Parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path, content):
    assert "is not a Parquet file" in refusal(write(tmp_path / "a.parquet", content))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=[f"document {number}" * 100 for number in range(100)])
    raw = bytearray(path.read_bytes())
    raw[4:400] = bytes(396)
    path.write_bytes(raw)
    assert "is not a Parquet file, or is damaged" in refusal(path)


def test_bytes_that_are_not_utf_8_are_located(tmp_path):
    message = refusal(write(tmp_path / "a.txt", b"abc\xff"))
    assert "a.txt' is not UTF-8 at byte 3" in message
    message = refusal(write(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "\xe9t\xe9"}\n'))
    assert "is not UTF-8 at byte 24" in message


def test_a_binary_file_is_not_text(tmp_path):
    assert "holds NUL bytes" in refusal(write(tmp_path / "a.bin", bytes(10)))


@pytest.mark.parametrize("content", ["", " \n\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_a_corpus_without_text_is_refused(tmp_path, name, content):
    assert "holds no text" in refusal(write(tmp_path / name, content))


def test_empty_documents_alone_are_no_corpus(tmp_path):
    assert "holds no text" in refusal(write_parquet(tmp_path / "a.parquet", text=["", "", ""]))
    assert "no .txt or .md files" in refusal(tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        "nowhere",
        "no/such/file",
        "notes/a.txt",
        "x/a.parquet",
        "x/a.csv",
        "x/a.jsonl.zst",
        "a\0b",
        "x" * 5000,
        "~nobody-here/a",
    ],
)
def test_what_is_neither_a_path_nor_an_id_is_refused_without_asking_the_hub(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "is not a dataset id: name docs, a file or folder that exists, or owner/name" in refusal(spec)


def test_a_device_is_no_corpus():
    assert "neither a file nor a folder" in refusal("/dev/zero")


# The Hub. Its client reads HF_ENDPOINT when it is imported, so each environment has a process of its own, which reads
# one corpus after another and reports what came of it.

READ_ALL = """
import json, sys, time
from itda_core.common.settings import CorpusSettings
from itda_core.corpus.readers import read_documents
from itda_core.common.errors import UserError

time.sleep = lambda seconds: None  # the client waits between its attempts
report = {}
for case, settings in json.loads(sys.argv[1]).items():
    try:
        report[case] = {"documents": list(read_documents(CorpusSettings(**settings)))}
    except UserError as error:
        report[case] = {"error": str(error), "cause": type(error.__cause__).__name__}
print(json.dumps(report))
"""
TOKEN = "hf_the_right_token"


def read_in_process(environment, cases):
    done = run_python(READ_ALL, json.dumps(cases), env=environment)
    assert done.returncode == 0, done.stderr
    assert "hf_" not in done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    datasets = folder / "datasets" / "owner"
    for name in ("small", "nulls", "large", "gated", "private", "broken"):
        (datasets / name).mkdir(parents=True)
    write_parquet(datasets / "small" / "train.parquet", text=["a", "", "c", "d"], n=[1, 2, 3, 4])
    write_parquet(datasets / "small" / "test.parquet", text=["only"], n=[5])
    write_parquet(datasets / "nulls" / "train.parquet", text=["a", None])
    for name in ("gated", "private"):
        write_parquet(datasets / name / "train.parquet", text=["secret"])
    pq.write_table(pa.table({"text": ["x"] * (HUB_DOCUMENTS + 5)}), datasets / "large" / "train.parquet")
    write(datasets / "broken" / "train.parquet", "not Parquet")
    write(datasets / "lines" / "train.jsonl", '{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n')
    with serve(folder, gated={"datasets/owner/gated": TOKEN}, private={"datasets/owner/private": TOKEN}) as hub:
        yield hub


@pytest.fixture(scope="module")
def report(hub, tmp_path_factory):
    cases = {
        "all": {"spec": "owner/small"},
        "some": {"spec": "owner/small", "documents": 2},
        "split": {"spec": "owner/small", "split": "test", "revision": "main"},
        "JSON": {"spec": "owner/lines"},
        "large": {"spec": "owner/large"},
        "larger": {"spec": "owner/large", "documents": HUB_DOCUMENTS + 1},
        "number": {"spec": "owner/small", "column": "n"},
        "null": {"spec": "owner/nulls"},
        "column": {"spec": "owner/lines", "column": "body"},
        "no split": {"spec": "owner/small", "split": "validation"},
        "no name": {"spec": "owner/small", "name": "english"},
        "no revision": {"spec": "owner/small", "revision": "v2"},
        "missing": {"spec": "owner/missing"},
        "gated": {"spec": "owner/gated"},
        "private": {"spec": "owner/private"},
        "broken": {"spec": "owner/broken"},
    }
    return read_in_process(hub.environment(tmp_path_factory.mktemp("home")), cases)


def test_a_dataset_is_streamed_from_the_hub(report):
    names = [f"row {row}" for row in range(4)]
    assert report["all"]["documents"] == [list(pair) for pair in zip(names, ["a", "", "c", "d"], strict=True)]
    assert report["some"]["documents"] == report["all"]["documents"][:2]
    assert report["split"]["documents"] == [["row 0", "only"]]
    assert report["JSON"]["documents"] == [["row 0", "a"], ["row 1", "b"]]


def test_a_dataset_gives_its_first_documents_unless_told_otherwise(report):
    assert len(report["large"]["documents"]) == HUB_DOCUMENTS
    assert len(report["larger"]["documents"]) == HUB_DOCUMENTS + 1


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("number", "row 0 of dataset 'owner/small' has int in 'n', not text"),
        ("null", "row 1 of dataset 'owner/nulls' has null in 'text', not text"),
        ("column", "has no column 'body': name one of 'text', 'n'"),
        ("no split", "Available splits: ['train', 'test']"),
        ("no name", "Available: ['default']"),
        ("no revision", "check the id and the revision"),
        ("missing", "is no file here and cannot be had from the Hub"),
        ("gated", "accept its terms on its page and set HF_TOKEN"),
        ("private", "if it is gated or private, accept its terms on its page and set HF_TOKEN"),
        ("broken", "dataset 'owner/broken' cannot be read"),
    ],
)
def test_a_failure_of_the_hub_is_one_line_that_says_what_to_do(report, case, told):
    assert told in report[case]["error"]
    assert "\n" not in report[case]["error"]
    assert (report[case]["cause"] == "NoneType") == (case in ("number", "null", "column"))


@pytest.mark.parametrize(
    ("token", "told"),
    [(TOKEN, None), ("hf_another_token", "accept its terms"), (UNKNOWN_TOKEN, "the Hub does not know the token")],
)
def test_a_token_opens_a_gated_and_a_private_dataset(hub, tmp_path, token, told):
    cases = {name: {"spec": f"owner/{name}"} for name in ("gated", "private")}
    for got in read_in_process(hub.environment(tmp_path, HF_TOKEN=token), cases).values():
        if told is None:
            assert got["documents"] == [["row 0", "secret"]]
        else:
            assert told in got["error"]


@pytest.mark.parametrize("offline", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no network", "offline"])
def test_without_a_network_the_user_is_told_so(tmp_path, offline):
    environment = hub_environment("http://127.0.0.1:9", tmp_path, **offline)
    got = read_in_process(environment, {"far": {"spec": "owner/small"}})["far"]
    assert got["error"].startswith("the Hub cannot be reached for dataset 'owner/small': check the network")
    assert got["cause"] == "ConnectionError"
