"""Files of a stranger's that say they are a dictionary, its hashes in order: each is refused in one line."""

import copy
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from itda_core import Dictionary
from itda_core.cli.command_line import main
from itda_core.cli.verify import verify_library
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.layout import ATOMS_FILE, INDEX_FILE, MANIFEST_FILE
from itda_core.interop.copy import adopt
from itda_core.interop.exporter import _put, export
from itda_core.interop.external import without_place
from itda_core.interop.formats import manifest, safetensors
from itda_core.interop.formats.manifest import read_folder
from itda_core.interop.hub import _manifest_bytes
from itda_core.interop.importer import read_any
from itda_core.library.library import Library
from itda_core.queries.atoms import Index
from itda_core.queries.pairs import Pair
from tests.support.small_library import ATOMS, CODES, ID, SOURCES, sign, spoil_atoms, write_library

pytestmark = pytest.mark.slow


@pytest.fixture
def small(tmp_path: Path) -> Library:
    return write_library(tmp_path / "small")


@pytest.fixture
def folder(small: Library) -> Path:
    return small.folder(ID)


@pytest.fixture
def here(tmp_path: Path) -> Library:
    """The library that takes it, or does not."""
    return Library(tmp_path / "here")


# Taken over as it is


def test_a_sound_one_is_taken_to_the_bit(folder: Path, here: Library) -> None:
    assert adopt(here, folder) == adopt(here, folder) == ID
    for name in (ATOMS_FILE, INDEX_FILE, MANIFEST_FILE):
        assert (here.folder(ID) / name).read_bytes() == (folder / name).read_bytes()
    assert [path.name for path in here.dictionaries.iterdir()] == [ID]


def not_finite(dictionary: Dictionary) -> None:
    dictionary.atoms[1, 2] = torch.nan


def not_of_unit_norm(dictionary: Dictionary) -> None:
    dictionary.atoms[2] *= 2


def of_no_token(dictionary: Dictionary) -> None:
    dictionary.sources[0] = torch.tensor([3, -1])  # there is no special token before a text


def admitted_by_less_than_nothing(dictionary: Dictionary) -> None:
    dictionary.admission_errors[0] = -0.5


def admitted_by_all_there_is(dictionary: Dictionary) -> None:
    dictionary.admission_errors[0] = torch.inf


SPOILT = {
    not_finite: "atom 1 is zero or not finite",
    not_of_unit_norm: "its atoms are not of unit norm",
    of_no_token: r"names \[3, -1\] as the source of atom 0",
    admitted_by_less_than_nothing: "admitted by an error that cannot be",
    admitted_by_all_there_is: "admitted by an error that cannot be",
}


@pytest.mark.parametrize("change", SPOILT)
def test_atoms_that_are_none_are_not_taken(change: Callable[[Dictionary], None], folder: Path, here: Library) -> None:
    spoil_atoms(folder, change)
    with pytest.raises(UserError, match=SPOILT[change]):
        adopt(here, folder)
    assert here.ids() == [] and not here.dictionaries.exists()


def test_atoms_of_another_shape_or_manifest_are_not_taken(folder: Path, here: Library) -> None:
    sign(folder, d_model=9)
    with pytest.raises(DamagedError, match=r"holds \[3, 8\]"):
        adopt(here, folder)
    sign(folder, d_model=8)
    content = bytearray((folder / ATOMS_FILE).read_bytes())
    content[-1] ^= 1
    (folder / ATOMS_FILE).write_bytes(content)
    (folder / INDEX_FILE).unlink()
    with pytest.raises(DamagedError, match="is not the file that its manifest names"):
        read_folder(folder)
    assert main(["import", str(folder), "--library", str(here.root)]) == 2
    assert here.ids() == []


def test_what_is_here_is_not_replaced(folder: Path, here: Library, tmp_path: Path) -> None:
    half = here.dictionaries / f".{ID}.part"
    half.mkdir(parents=True)
    (half / "builder.safetensors").write_bytes(b"hours of work")
    with pytest.raises(UserError, match="is half built in this library"):
        adopt(here, folder)
    assert (half / "builder.safetensors").read_bytes() == b"hours of work"
    shutil.rmtree(half)
    adopt(here, folder)
    other = write_library(tmp_path / "other").folder(ID)
    spoil_atoms(other, lambda dictionary: dictionary.atoms.neg_())
    with pytest.raises(UserError, match="this library has another dictionary"):
        adopt(here, other)
    (here.folder(ID) / ATOMS_FILE).write_bytes(b"damaged")
    with pytest.raises(UserError, match="is in this library and damaged"):
        adopt(here, folder)
    assert (here.folder(ID) / ATOMS_FILE).read_bytes() == b"damaged"


# An index that is more, or less, than tables


def spoil_index(folder: Path, *statements: str) -> None:
    with duckdb.connect(str(folder / INDEX_FILE)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("CHECKPOINT")
    sign(folder)


COMPUTED = {
    "a view": ("ALTER TABLE atoms RENAME TO real", "CREATE VIEW atoms AS SELECT * FROM real"),
    "a computed column": (
        "ALTER TABLE documents RENAME TO real",
        "CREATE TABLE documents (document INTEGER, name VARCHAR, held_out BOOLEAN, "
        "text VARCHAR GENERATED ALWAYS AS (repeat('x', 1000000)) VIRTUAL)",
        "INSERT INTO documents SELECT document, name, held_out FROM real",
        "DROP TABLE real",
    ),
    "a table is missing": ("DROP TABLE codes",),
}


@pytest.mark.parametrize("what", COMPUTED)
def test_an_index_in_which_something_is_computed_is_refused(what: str, folder: Path, tmp_path: Path) -> None:
    sound = write_library(tmp_path / "sound").folder(ID) / INDEX_FILE
    spoil_index(folder, *COMPUTED[what])
    with pytest.raises(DamagedError, match="no plain table"):
        Index(folder / INDEX_FILE)
    with pytest.raises(DamagedError, match="no plain table"):
        Pair(sound, folder / INDEX_FILE, "token")


def test_a_function_of_an_index_is_not_run(folder: Path, tmp_path: Path) -> None:
    sound = write_library(tmp_path / "sound").folder(ID) / INDEX_FILE
    spoil_index(folder, "CREATE MACRO coalesce(x, y) AS 7", "CREATE MACRO lower(x) AS 'anything'")
    with pytest.raises(DamagedError, match="functions of its own"):
        Index(folder / INDEX_FILE)
    with pytest.raises(DamagedError, match="functions of its own"):
        Pair(folder / INDEX_FILE, sound, "token")


def test_changes_beside_an_index_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / f"{INDEX_FILE}.wal").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"index\.duckdb\.wal of dictionary .* delete it"):
        Index(folder / INDEX_FILE)
    with pytest.raises(DamagedError, match=r"index\.duckdb\.wal"):
        Pair(folder / INDEX_FILE, folder / INDEX_FILE, "token")


def test_an_index_takes_no_more_memory_than_it_may(folder: Path) -> None:
    index = Index(folder / INDEX_FILE)
    (settings,) = index._frame(
        "SELECT current_setting('memory_limit') AS memory, current_setting('temp_directory') AS scratch"
    ).to_dict("records")
    assert settings == {"memory": "128.0 MiB", "scratch": ""}


IMPOSSIBLE = {
    "no label": ("UPDATE atoms SET label = NULL", "atoms without a label"),
    "no count": ("UPDATE atoms SET count = NULL WHERE atom = 1", "atoms without a count"),
    "text for a number": ("ALTER TABLE atoms ALTER density TYPE VARCHAR USING 'often'", "other columns in atoms"),
    "a wider number": ("ALTER TABLE codes ALTER atom TYPE BIGINT", "other columns in codes"),
    "a column too few": ("ALTER TABLE examples DROP context", "other columns in examples"),
    "a column too many": ("ALTER TABLE tokens ADD COLUMN more INTEGER", "other columns in tokens"),
    "a source that is no token": (
        "UPDATE atoms SET token = 4000 WHERE atom = 2",
        "atoms from tokens that are not there",
    ),
    "the source of another": ("UPDATE atoms SET token = token + 1 WHERE atom = 2", "whose source is another token"),
    "atoms not from 0 on": ("UPDATE atoms SET atom = atom + 1", "atoms that are not numbered"),
    "an atom twice": ("UPDATE atoms SET atom = 1 WHERE atom = 2", "atoms that are not numbered"),
    "no number": ("UPDATE atoms SET strongest = 'nan' WHERE atom = 0", "atoms with coefficients that cannot be"),
    "no end": ("UPDATE atoms SET maximum = 'inf' WHERE atom = 0", "atoms with coefficients that cannot be"),
    "fewer than none": ("UPDATE atoms SET count = -1 WHERE atom = 0", "atoms with counts that cannot be"),
    "more than all": ("UPDATE atoms SET density = 1.5 WHERE atom = 0", "atoms with counts that cannot be"),
    "an error below 0": ("UPDATE atoms SET admission_error = -1", "atoms with errors that cannot be"),
    "a count of others": ("UPDATE atoms SET count = count + 1 WHERE atom = 0", "counts of other activations"),
    "a token without text": ("UPDATE tokens SET text = NULL WHERE token = 5", "tokens without a text"),
    "a token out of its text": ("UPDATE tokens SET stop = start - 1 WHERE token = 5", "tokens at places"),
    "two tokens at one place": ("UPDATE tokens SET position = 2 WHERE token = 5", "tokens that are at one place"),
    "a token of no document": ("UPDATE tokens SET document = 400 WHERE token = 5", "tokens of documents"),
    "a token left out": ("DELETE FROM tokens WHERE token = 5", "tokens that are not numbered"),
    "a document left out": ("DELETE FROM documents WHERE document = 11", "tokens of documents"),
    "a document without a name": ("UPDATE documents SET name = NULL", "documents without a name"),
    "activations of no token": ("UPDATE activations SET token = 400 WHERE atom = 1", "activations of atoms or tokens"),
    "codes of no atom": ("UPDATE codes SET atom = 3 WHERE token = 5", "codes of atoms or tokens"),
    "codes that are none": ("UPDATE codes SET coefficient = 'nan' WHERE token = 5", "codes that are no numbers"),
    "other codes": ("UPDATE codes SET coefficient = 8 WHERE token = 5", "codes that are other activations"),
    "a bin too many": ("UPDATE histograms SET bin = 50", "histograms with counts"),
    "a bin of nothing": ("UPDATE histograms SET count = 0 WHERE atom = 2", "histograms with counts"),
    "other histograms": ("DELETE FROM histograms WHERE atom = 2", "histograms of other activations"),
    "examples of no atom": ("UPDATE examples SET atom = -1 WHERE rank = 2", "examples of atoms or tokens"),
    "an example without a text": ("UPDATE examples SET context = NULL WHERE rank = 2", "examples without a context"),
    "a neighbour that is none": ("UPDATE neighbours SET other = 3", "neighbours of atoms"),
    "too near a neighbour": ("UPDATE neighbours SET cosine = 7", "neighbours that cannot be"),
    "firing with none": ("UPDATE cofiring SET other = 3", "cofiring of atoms"),
    "firing together more than alone": ("UPDATE cofiring SET together = 40 WHERE rank = 1", "fire less often"),
    "more alike than the same": ("UPDATE cofiring SET jaccard = 1.5", "cofiring that cannot be"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_index_that_says_what_cannot_be_is_not_taken(what: str, folder: Path, here: Library) -> None:
    statement, line = IMPOSSIBLE[what]
    spoil_index(folder, statement)
    with pytest.raises(DamagedError, match=line):
        adopt(here, folder)
    assert here.ids() == [] and not here.dictionaries.exists()
    assert any(line in problem for problem in verify_library(Library(folder.parents[1]))[ID])


@pytest.mark.parametrize(
    "what", [what for what, (_, line) in IMPOSSIBLE.items() if "atoms w" in line or "other col" in line]
)
def test_what_is_said_of_atoms_is_seen_when_an_index_is_opened(what: str, folder: Path, tmp_path: Path) -> None:
    statement, line = IMPOSSIBLE[what]
    sound = write_library(tmp_path / "sound").folder(ID) / INDEX_FILE
    spoil_index(folder, statement)
    with pytest.raises(DamagedError, match=line):
        Index(folder / INDEX_FILE)
    with pytest.raises(DamagedError, match=line):
        Pair(sound, folder / INDEX_FILE, "token")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET document = 7 WHERE rowid % 3 = 0",
        "INSERT INTO tokens SELECT * FROM tokens WHERE token < 9",
    ],
)
def test_tokens_that_would_be_joined_twice_are_damage(statement: str, folder: Path, tmp_path: Path) -> None:
    sound = write_library(tmp_path / "sound").folder(ID) / INDEX_FILE
    assert len(Pair(sound, sound, "token").common_places().token_b) > 9
    spoil_index(folder, statement)
    with pytest.raises(DamagedError, match="joined twice"):
        Pair(folder / INDEX_FILE, sound, "token").common_places()


NUMBERED_WRONG = {
    "a token twice": ("INSERT INTO tokens SELECT * FROM tokens WHERE token = 5",),
    "a token left out": ("DELETE FROM tokens WHERE token = 5",),
    "a token far off": ("INSERT INTO tokens (token, document, position) VALUES (2000000000, 0, 4)",),
    "a document twice": ("INSERT INTO documents SELECT * FROM documents WHERE document = 2",),
    "an atom twice": ("UPDATE atoms SET atom = 1 WHERE atom = 2",),
    "an atom that is none": ("UPDATE atoms SET atom = NULL WHERE atom = 2",),
    "codes of no atom": ("UPDATE codes SET atom = NULL WHERE token = 5",),
    "codes of an atom that is not there": ("UPDATE codes SET atom = 3 WHERE token = 5",),
    "codes that are no numbers": ("UPDATE codes SET coefficient = 'nan'::FLOAT WHERE token = 5",),
    "codes of another kind": ("ALTER TABLE codes ALTER coefficient TYPE VARCHAR",),
    "places of another kind": ("ALTER TABLE tokens ALTER position TYPE VARCHAR",),
}


@pytest.mark.parametrize("form", ["parquet", "safetensors"])
@pytest.mark.parametrize("what", NUMBERED_WRONG)
def test_an_index_that_adds_up_to_nothing_is_not_exported(what: str, form: str, small: Library, tmp_path: Path) -> None:
    spoil_index(small.folder(ID), *NUMBERED_WRONG[what])
    with pytest.raises(DamagedError, match="build the dictionary again"):
        export(small, ID, form, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_sources_of_another_kind_are_not_exported(small: Library, tmp_path: Path) -> None:
    spoil_index(small.folder(ID), "ALTER TABLE atoms ALTER label TYPE INTEGER USING 7")
    with pytest.raises(DamagedError, match="holds other columns in atoms"):
        export(small, ID, "parquet", tmp_path / "out")


def test_a_gap_in_the_codes_is_no_file(small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "TOKENS_AT_ONCE", 8)
    spoil_index(small.folder(ID), "DELETE FROM codes WHERE token >= 8 AND token < 32")
    export(small, ID, "safetensors", tmp_path / "out")
    parts = list(safetensors.read_codes(tmp_path / "out"))
    assert [len(part["token"]) > 0 for part in parts] == [True] * 3  # 48 tokens
    tokens = [token for part in parts for token in part["token"].tolist()]
    assert min(tokens) < 8 and max(tokens) >= 40 and len(tokens) == sum(CODES[:6].astype(bool).sum(1)) + 16


def test_what_cannot_be_replaced_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "about.json").write_text("{}")
    with pytest.raises(FileNotFoundError):
        _put(tmp_path / "part", tmp_path / "out", True)  # nothing was written
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "about.json").read_text() == "{}"


# torch's own format


@pytest.fixture
def published(small: Library, tmp_path: Path) -> Path:
    export(small, ID, "published", tmp_path / "run")
    return tmp_path / "run"


def test_a_compressed_tensor_is_refused(published: Path) -> None:
    torch.save(torch.zeros(3, 2_000_000), published / "atoms.pt")
    with zipfile.ZipFile(published / "atoms.pt") as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(published / "atoms.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert (published / "atoms.pt").stat().st_size < 100_000
    with pytest.raises(UserError, match="it is compressed"):
        read_any(published)


def test_a_tensor_file_that_holds_its_bytes_twice_is_refused(published: Path) -> None:
    with zipfile.ZipFile(published / "atoms.pt", "a") as archive:
        for number in range(3):
            again = copy.copy(archive.infolist()[1])
            again.filename = f"archive/again-{number}"
            again.file_size = again.compress_size = 100_000
            archive.filelist.append(again)
        archive.writestr("archive/more", b"")  # so that the list of what it holds is written anew
    with pytest.raises(UserError, match="it holds more than its own size"):
        read_any(published)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"layer": 10**9}, "layer: 1000000000 is not between 0 and 9999"),
        ({"seq_len": 10**12}, "seq_len: 1000000000000 is not between 1"),
        ({"k": 10**9}, "l0 is 1000000000: it must be 10,000 at most"),
        ({"loss_threshold": "nan"}, "threshold is nan"),
    ],
)
def test_metadata_out_of_bounds_are_refused(said: dict, line: str, published: Path) -> None:
    path = published / "metadata.yaml"
    path.write_text(path.read_text() + "".join(f"{name}: {value}\n" for name, value in said.items()))
    with pytest.raises(UserError, match=line):
        read_any(published)


# Tables


@pytest.mark.parametrize(
    ("name", "column", "line"),
    [
        ("document", pa.array(["0", "1", "2"]), "its document is string where int64 was expected"),
        ("position", pa.array(["1", "2", "3"]).dictionary_encode(), "its position is dictionary"),
        ("admission_error", pa.array([0.5, 0.4, 0.3], pa.float32()), "its admission_error is float where double"),
        ("vector", pa.array([b"12345678"] * 3, pa.binary(8)), "its vectors are not of float32"),
        ("vector", pa.array([[]] * 3, pa.list_(pa.float32(), 0)), "it holds 3 atoms of width 0"),
        ("document", pa.array([0, None, 2]), r"holds float64 \[3, 2\]"),
    ],
    ids=["text", "a dictionary's", "half the numbers", "bytes", "no width", "nothing"],
)
def test_columns_of_another_kind_are_refused(
    name: str, column: pa.Array, line: str, small: Library, tmp_path: Path
) -> None:
    export(small, ID, "parquet", tmp_path / "out")
    path = tmp_path / "out" / "atoms.parquet"
    table = parquet.read_table(path)
    try:
        parquet.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
    except pa.ArrowException as error:
        pytest.skip(f"this pyarrow does not write it: {error}")
    with pytest.raises(UserError, match=line):
        read_any(tmp_path / "out")


def test_tables_come_back(small: Library, tmp_path: Path) -> None:
    for form in ("parquet", "safetensors"):
        export(small, ID, form, tmp_path / form)
        found = read_any(tmp_path / form)[1]
        assert torch.equal(found.atoms, ATOMS) and found.sources.tolist() == [list(place) for place in SOURCES]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("layer", "3", "'3' is not a count"),
        ("layer", 10**6, "not between 0 and 9999"),
        ("context", 0, "not between 1 and"),
        ("prefix", -1, "not between 0 and 999"),
        ("hook", 3, "'3' is not text"),
        ("model", "", "a name is empty"),
        ("settings", {"threshold": 10**400}, "threshold is 1000"),
    ],
)
def test_what_an_export_says_of_itself_is_held_against_bounds(
    name: str, value: object, line: str, small: Library, tmp_path: Path
) -> None:
    export(small, ID, "safetensors", tmp_path / "out")
    path = tmp_path / "out" / "about.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(UserError, match=line):
        read_any(tmp_path / "out")


# What is not told


def test_where_files_lay_is_not_told(small: Library, tmp_path: Path, here: Library) -> None:
    export(small, ID, "published", tmp_path / "run")
    path = tmp_path / "run" / "metadata.yaml"
    said = "lm_name: /home/anna/models/tiny\ndataset: C:\\Users\\anna\\texts\nsave_dir: ~anna/runs/one\n"
    path.write_text(path.read_text() + said)
    assert main(["import", str(tmp_path / "run"), "--library", str(here.root)]) == 0
    (dictionary_id,) = here.ids()
    assert dictionary_id.startswith("tiny-l3-resid-")
    record = here.record(dictionary_id)
    assert (record.model, record.corpus) == ("tiny", "texts")
    sent = _manifest_bytes(here.folder(dictionary_id) / MANIFEST_FILE)
    assert b"anna" not in sent
    assert json.loads(sent)["imported"]["said"]["save_dir"] == "one"
    assert _manifest_bytes(small.folder(ID) / MANIFEST_FILE) == (small.folder(ID) / MANIFEST_FILE).read_bytes()
    export(here, dictionary_id, "published", tmp_path / "again")  # on this machine it is given back as it was
    assert "/home/anna/models/tiny" in (tmp_path / "again" / "metadata.yaml").read_text()


def test_a_name_is_no_place() -> None:
    names = {
        "owner/name": "owner/name",
        "/a/b/": "b",
        "/": "unnamed",
        "D:\\x": "x",
        "~/c": "c",
        "https://x/y": "https://x/y",
    }
    assert {name: without_place(name) for name in names} == names
