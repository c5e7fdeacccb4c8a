import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from itda_core import DamagedError, Library, UserError
from itda_core.build.projection import compute_map
from itda_core.cli.command_line import main
from itda_core.common.validate import Finite, Share, parse, whole
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary
from itda_core.library.map import read_map


@pytest.fixture
def copy(library: Path, tmp_path: Path) -> Library:
    return Library(Path(shutil.copytree(library, tmp_path / "library")))


def damage_manifest(library: Library, change) -> str:
    dictionary_id = library.ids()[0]
    path = library.folder(dictionary_id) / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return dictionary_id


def test_records(library: Path) -> None:
    records = Library(library).records()
    assert all(isinstance(record, DictionaryManifest) for record in records)
    for record in records:
        assert record.history[-1].atoms == record.n_atoms
        assert record.n_layers == 6
        assert record.d_model == 192


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "A", "x" * 200, "nothing", "a\x00b", "<b>"])
def test_an_unknown_id_says_which_there_are(library: Path, bad: str) -> None:
    with pytest.raises(UserError, match="docs-a-l1"):
        Library(library).folder(bad)


def test_an_empty_library_says_how_to_begin(tmp_path: Path) -> None:
    assert Library(tmp_path / "none").records() == []
    with pytest.raises(UserError, match="itda demo"):
        Library(tmp_path).folder("x")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("model"),
        lambda m: m.update(model=["list"]),
        lambda m: m.update(id="another"),
        lambda m: m.update(n_atoms="many"),
        lambda m: m.update(n_atoms=2.5),
        lambda m: m.update(hook="nose"),
        lambda m: m.update(settings={"l0": -1}),
        lambda m: m["settings"].update(lO=m["settings"].pop("l0")),
        lambda m: m["cut"].update(surprise=1),
        lambda m: m.update(more=json.loads("[" * 900 + "]" * 900), n_atoms="many"),
        lambda m: m.update(history=[[1, 2]]),
        lambda m: m.update(files={"../../etc/passwd": "x"}),
        lambda m: m.update(files={}),
        lambda m: m.update(layer=6),
        lambda m: m.update(n_layers=10**400),
        lambda m: m.update(relative_error=10**400),
        lambda m: m["settings"].update(l0=2.5),
        lambda m: m.update(cut={"context": "a\n\x1b[31mb"}),
        lambda m: m.update(relative_error="nan"),
        lambda m: m.update(holdout="no"),
        lambda m: m.update(history=[[1, 2, "nan"]]),
        lambda m: m.update(history=[[1, 2.5, 0.1]]),
        lambda m: m.update(layer=10**6, n_layers=0),
        lambda m: m.update(prefix=-1),
        lambda m: m["settings"].update(threshold=10**400),
        lambda m: m["settings"].update(threshold=True),
        lambda m: m["settings"].update(l0=10**9),
        lambda m: m["settings"].update(max_atoms=10**400),
        lambda m: m["cut"].update(keep_first="yes"),
        lambda m: m["files"].update({"a\x1b[31mb": "0"}),
    ],
)
def test_a_damaged_manifest_is_listed_with_the_reason(copy: Library, change) -> None:
    dictionary_id = damage_manifest(copy, change)
    *sound, damaged = copy.records()
    assert len(sound) == 2
    assert isinstance(damaged, InvalidDictionary)
    assert damaged.id == dictionary_id
    assert damaged.reason.isprintable()
    with pytest.raises(DamagedError):
        copy.record(dictionary_id)


def test_what_a_manifest_says_beyond_its_fields_is_passed_over(copy: Library) -> None:
    sound = copy.record(copy.ids()[0])
    damage_manifest(copy, lambda m: m.update(more=1, others=[]))
    assert copy.record(copy.ids()[0]) == sound


def test_growth_that_is_none_is_not_loaded(copy: Library) -> None:
    from itda_core import Dictionary

    dictionary_id = damage_manifest(copy, lambda m: m.update(history=[[1, 2, "nan"]]))
    with pytest.raises(DamagedError, match=r"is damaged \(history"):
        Dictionary.load(copy.folder(dictionary_id))


def test_a_corpus_elsewhere_is_no_corpus(copy: Library) -> None:
    record = copy.record(copy.ids()[0])
    assert copy.corpus_folder(record) == copy.corpora / record.corpus
    for name in ("../jobs", "/etc", "a/b", ".", "some/texts", ""):
        with pytest.raises(DamagedError, match="which no library has"):
            copy.corpus_folder(replace(record, corpus=name))


def test_two_of_one_name_hide_nothing_and_no_terminal_obeys_a_name(
    copy: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy.corpora / copy.ids()[0]).mkdir()
    (copy.corpora / "a\x1b[31mb").mkdir()
    copy.index_path(copy.ids()[0]).write_bytes(b"")
    capsys.readouterr()
    assert main(["verify", "--library", str(copy.root), "--json"]) == 1
    own = json.loads(capsys.readouterr().out)["problems"][copy.ids()[0]]
    assert own[0] == "index.duckdb is not the file that was built" and len(own) == 2
    assert main(["verify", "--library", str(copy.root)]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "a\\x1b[31mb: " in said.out


@dataclass(frozen=True)
class Numbers:
    finite: Finite = 0.0
    share: Share = 0.0


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), True, "1", None])
def test_what_is_no_number_is_refused(value: object) -> None:
    for name in ("finite", "share"):
        with pytest.raises(DamagedError, match="numbers is damaged"):
            parse(Numbers, {name: value}, "numbers", "write them again")


def test_what_is_nested_too_deep_is_damage() -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DamagedError, match="numbers is damaged"):
        parse(Numbers, {"more": deep}, "numbers", "write them again")
    while deep:  # or its own end would be too deep
        deep = deep.pop()


def test_numbers_are_what_their_fields_say() -> None:
    found = parse(Numbers, {"finite": -3, "share": 1}, "numbers", "")
    assert found == Numbers(-3.0, 1.0)
    with pytest.raises(DamagedError, match="less than or equal to 1"):
        parse(Numbers, {"share": 1.01}, "numbers", "")


def test_numbers_within_bounds() -> None:
    assert (whole(0), whole(2**63 - 1), whole(3, 3, 3)) == (0, 2**63 - 1, 3)
    for value, lowest, highest in ((2**63, 0, 2**63 - 1), (2, 3, 5), (6, 3, 5)):
        with pytest.raises(ValueError, match=r"is not (between 3 and 5|a count of 0 or more)"):
            whole(value, lowest, highest)


def test_a_number_that_is_not_finite_is_damage(copy: Library) -> None:
    path = copy.folder(copy.ids()[0]) / "manifest.json"
    path.write_text(path.read_text().replace('"relative_error": 0.', '"relative_error": 1e999, "was": 0.'))
    assert isinstance(copy.records()[-1], InvalidDictionary)


def test_a_manifest_that_is_a_list(copy: Library) -> None:
    (copy.folder(copy.ids()[0]) / "manifest.json").write_text("[1, 2]")
    assert isinstance(copy.records()[-1], InvalidDictionary)


def test_a_missing_index_is_damage(copy: Library) -> None:
    copy.index_path(copy.ids()[0]).unlink()
    assert "index.duckdb" in copy.records()[-1].reason  # type: ignore[union-attr]


def test_the_builds_left_maps(library: Path) -> None:
    records = Library(library).records()
    for record in records:
        frame = read_map(Library(library).map_path(record.id), record.n_atoms)
        assert frame is not None
        assert frame["atom"].tolist() == list(range(record.n_atoms))
        assert frame[["x", "y"]].notna().all(axis=None)


def test_near_on_the_map_is_alike_in_direction(tmp_path: Path) -> None:
    import torch

    from itda_core import build_dictionary

    random = torch.Generator().manual_seed(0)
    flocks = torch.eye(12)[:3].repeat(20, 1) + 0.05 * torch.randn(60, 12, generator=random)
    build_dictionary([(flocks, torch.zeros(60, 2))], l0=1, threshold=0.001).save(tmp_path)
    compute_map(tmp_path, tmp_path / "map.parquet")
    frame = read_map(tmp_path / "map.parquet", 60)
    assert frame is not None
    places = frame[["x", "y"]].to_numpy()
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
    assert (distances.argmin(1) % 3 == np.arange(60) % 3).all()


def test_a_map_is_missing_damaged_or_impossible(copy: Library, tmp_path: Path) -> None:
    import torch

    from itda_core import build_dictionary

    assert read_map(tmp_path / "map.parquet", 8) is None
    (tmp_path / "map.parquet").write_bytes(b"no map")
    with pytest.raises(DamagedError, match="compute the map again"):
        read_map(tmp_path / "map.parquet", 8)
    build_dictionary([(torch.eye(4), torch.zeros(4, 2))]).save(tmp_path / "small")
    with pytest.raises(UserError, match="8 atoms"):
        compute_map(tmp_path / "small", tmp_path / "small" / "map.parquet")
