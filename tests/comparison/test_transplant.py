"""A dictionary carried over to another model: rotations and plain numpy say what must come out; and real models."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from itda_core.capture.local import Batch
from itda_core.capture.replay import ActivationSource, from_batches, kept_activations
from itda_core.cli import command_line
from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.parquet import write_table
from itda_core.common.settings import DictionarySettings
from itda_core.common.types import Codes, Site
from itda_core.comparison import reembed, transplant
from itda_core.comparison.reembed import carry
from itda_core.dictionary.dictionary import Dictionary
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.queries.pairs import Pair
from itda_core.reports import transplant as kept_transplant
from itda_core.reports.comparison import folder_of
from itda_core.reports.transplant import (
    ATOM_COLUMNS,
    ATOM_SCHEMA,
    CONTEXT_COLUMNS,
    CONTEXT_SCHEMA,
    CONTEXTS,
    TransplantSummary,
    read_transplant,
)
from tests.support.corpora import write_documents
from tests.support.places import MODEL_A, MODEL_B
from tests.support.small_pair import Places, windows, write_index

SETTINGS = DictionarySettings(l0=3)
SITE = Site(0)
SOURCES = [(document, 1 + document % 3) for document in range(8)]


def places_of(cut: list) -> np.ndarray:
    """[n, 2] document and position of the captured tokens."""
    return np.array([(window.document, window.position + at) for window in cut for at in window.captured])


def rows_at(cut: list, sources: Places) -> list[int]:
    """Which of the captured tokens some sources are."""
    places = [tuple(place) for place in places_of(cut).tolist()]
    return [places.index(source) for source in sources]


def activations_of(n: int, seed: int = 0, width: int = 8) -> torch.Tensor:
    """[n, width] with a few strong directions, as real ones have."""
    random = np.random.default_rng(seed)
    return torch.from_numpy((random.laplace(size=(n, width)) * 3 * 0.7 ** np.arange(width)).astype(np.float32))


def dense(codes: Codes, n: int, n_atoms: int) -> np.ndarray:
    found = np.zeros((n, n_atoms), np.float32)
    found[codes.row, codes.atom] = codes.coefficient
    return found


def codes_over(x: torch.Tensor, rows: list[int]) -> np.ndarray:
    """[n, atoms] codes of x over its own rows as atoms."""
    atoms = torch.nn.functional.normalize(x[rows], dim=1)
    return dense(Dictionary(atoms, torch.zeros(len(rows), 2), SETTINGS).encode(x), len(x), len(rows))


def reader_of(cut: list, y: torch.Tensor, rows: int = 5) -> ActivationSource:
    """A model whose captured activations are y, a few at a time."""
    sources = torch.from_numpy(places_of(cut))
    batches = [Batch({SITE: y[at : at + rows]}, sources[at : at + rows]) for at in range(0, len(y), rows)]
    return lambda wanted: from_batches(batches, SITE, wanted)


def carried(tmp_path: Path, x: torch.Tensor, y: torch.Tensor, pieces: int = 1) -> reembed.TransplantResult:
    """The dictionary of x at SOURCES carried over to y, whose tokens are `pieces` a word."""
    cut_a, cut_b = windows(1), windows(pieces)
    a = write_index(tmp_path / "a", cut_a, SOURCES, codes_over(x, rows_at(cut_a, SOURCES)))
    b = write_index(tmp_path / "b", cut_b, [(0, 1)])
    pair = Pair(a, b, "token" if pieces == 1 else "characters")
    return carry(pair, reader_of(cut_b, y), SETTINGS, lambda *_: None)


def row_of(found: reembed.TransplantResult, atom: int) -> dict[str, Any]:
    return {name: found.atoms[name].tolist()[atom] for name in ATOM_COLUMNS}


def test_in_a_rotation_of_the_model_every_atom_is_itself(tmp_path: Path) -> None:
    x = activations_of(36)
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0].astype(np.float32))
    found = carried(tmp_path, x, 2 * x @ rotation)
    assert tuple(found.atoms.columns) == ATOM_COLUMNS
    assert tuple(found.contexts.columns) == CONTEXT_COLUMNS
    assert found.tokens == 36
    assert found.atoms["correlation"].to_numpy(float) == pytest.approx(1, abs=1e-5)
    assert found.atoms["fires"].tolist() == found.atoms["fires_a"].tolist() == found.atoms["together"].tolist()
    codes = codes_over(x, rows_at(windows(1), SOURCES))
    assert found.atoms["fires"].tolist() == (np.count_nonzero(codes, axis=0) - 1).tolist()  # without its source


def test_centred_a_shift_of_the_model_changes_nothing_either(tmp_path: Path) -> None:
    x, cut, settings = activations_of(36) + 5, windows(1), replace(SETTINGS, center="mean")
    rows = rows_at(cut, SOURCES)
    mean = x.double().mean(0).float()
    atoms = torch.nn.functional.normalize(x[rows] - mean, dim=1)
    dictionary = Dictionary(atoms, torch.zeros(len(rows), 2), settings, mean=mean)
    a = write_index(tmp_path / "a", cut, SOURCES, dense(dictionary.encode(x), len(x), len(rows)))
    pair = Pair(a, write_index(tmp_path / "b", cut, [(0, 1)]), "token")
    rotation = torch.from_numpy(np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0].astype(np.float32))
    y, seen = 2 * x @ rotation + 30, []
    found = carry(pair, reader_of(cut, y), settings, lambda *told: seen.append(told))
    assert found.atoms["correlation"].to_numpy(float) == pytest.approx(1, abs=1e-4)
    assert found.relative_error < 0.01  # of |y|², most of which is the shift
    assert seen[0][0] == "mean"
    seen.clear()
    own = carry(pair, reader_of(cut, y), settings, lambda *told: seen.append(told), y.double().mean(0).float())
    assert own.relative_error == pytest.approx(found.relative_error, rel=1e-4)
    assert "mean" not in {name for name, _, _ in seen}  # B's dictionary has one: nothing is read for it


@pytest.mark.parametrize("pieces", [1, 2])
def test_an_atom_and_its_transplant_agree_as_numpy_says(tmp_path: Path, pieces: int) -> None:
    cut_a, cut_b = windows(1), windows(pieces)
    x = activations_of(36)
    n_b = len(places_of(cut_b))
    # B's tokens that end where A's captured ones do: all, or of seven a document the third, fifth and last.
    common = np.arange(n_b) if pieces == 1 else np.flatnonzero(np.tile([0, 0, 1, 0, 1, 0, 1], 12))
    y = activations_of(n_b, seed=2)
    y[common, :6] = x[:, :6] + 0.5 * y[common, :6]
    found = carried(tmp_path, x, y, pieces)
    own = np.array(rows_at(cut_a, SOURCES))
    of_a, of_b = codes_over(x, own.tolist()), codes_over(y[common], own.tolist())
    tokens_b = np.array([4 * pieces * d + p for d, p in places_of(cut_b)[common]])  # ordinals in B's index
    assert found.tokens == 36
    for atom in range(len(SOURCES)):
        rest = np.delete(np.arange(36), own[atom])
        a, b = of_a[rest, atom], of_b[rest, atom]
        row = row_of(found, atom)
        assert row["token"] == tokens_b[own[atom]]
        assert (row["fires"], row["fires_a"]) == (np.count_nonzero(b), np.count_nonzero(a))
        assert row["together"] == np.count_nonzero((a != 0) & (b != 0))
        if row["fires"] and row["fires_a"]:
            assert row["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
        assert row["strongest"] == pytest.approx(np.abs(b).max(), rel=1e-5)
        kept = found.contexts[found.contexts["atom"] == atom]
        fired = rest[b != 0]
        expected = fired[np.argsort(-of_b[fired, atom], kind="stable")][:CONTEXTS]
        assert kept["token"].tolist() == tokens_b[expected].tolist()
        assert np.array(kept["coefficient"]) == pytest.approx(of_b[expected, atom], rel=1e-5)
        assert kept["rank"].tolist() == list(range(len(expected)))
    others = np.setdiff1d(np.arange(36), own)
    atoms = torch.nn.functional.normalize(y[common][own], dim=1).numpy()
    left = y.numpy()[common] - of_b @ atoms
    errors = (left**2).sum(1) / (y.numpy()[common] ** 2).sum(1)
    assert found.relative_error == pytest.approx(errors[others].mean(), rel=1e-4)


def test_an_atom_that_fires_at_its_source_alone_says_nothing(tmp_path: Path) -> None:
    x = activations_of(36)
    own = rows_at(windows(1), SOURCES)
    x[:, 7] = 0
    x[own[2]] = torch.eye(8)[7]  # nothing else is in this direction
    found = carried(tmp_path, x, x)
    row = row_of(found, 2)
    assert (row["fires"], row["fires_a"], row["strongest"]) == (0, 0, 0)
    assert pd.isna(row["correlation"])
    assert 2 not in found.contexts["atom"].tolist()
    assert np.count_nonzero(found.atoms["correlation"].notna()) == len(SOURCES) - 1
    told = kept_transplant.summary_fields(found.atoms)
    assert (told["transplanted"], told["compared"], told["silent"]) == (len(SOURCES), len(SOURCES) - 1, 1)


def test_a_source_that_the_other_has_not_captured_has_no_transplant(tmp_path: Path) -> None:
    # B read six documents; and B's activation at the source of atom 1 is zero, which has no direction.
    x = activations_of(36)
    y = x[:18].clone()
    y[rows_at(windows(1), [SOURCES[1]])] = 0
    a = write_index(tmp_path / "a", windows(1), SOURCES, codes_over(x, rows_at(windows(1), SOURCES)))
    cut = windows(1, documents=6)
    pair = Pair(a, write_index(tmp_path / "b", cut, [(0, 1)]), "token")
    found = carry(pair, reader_of(cut, y), SETTINGS, lambda *_: None)
    assert found.tokens == 18
    has_one = [document < 6 and document != 1 for document, _ in SOURCES]
    assert found.atoms["token"].notna().tolist() == has_one
    assert found.atoms.drop(columns="atom").isna().to_numpy()[~np.array(has_one)].all()
    assert set(found.contexts["atom"]) <= set(np.flatnonzero(has_one))


def test_activations_that_are_not_those_of_the_index_are_refused(tmp_path: Path) -> None:
    x = activations_of(36)
    a = write_index(tmp_path / "a", windows(1), SOURCES, codes_over(x, rows_at(windows(1), SOURCES)))
    b = write_index(tmp_path / "b", windows(1), [(0, 1)])
    pair = Pair(a, b, "token")
    with pytest.raises(UserError, match="B gave 6 activations where 8 were asked for"):
        carry(pair, reader_of(windows(1, documents=6), x[:18]), SETTINGS, lambda *_: None)
    y = x.clone()
    y[rows_at(windows(1), [(3, 1)])[0] + 5] = torch.inf
    with pytest.raises(UserError, match="not finite"):
        carry(pair, reader_of(windows(1), y), SETTINGS, lambda *_: None)
    nowhere = Pair(a, write_index(tmp_path / "none", windows(1), [(0, 1)]), "token")
    nowhere.common_places = lambda: Pair.common_places(nowhere)._replace(atom=np.full(36, -1, np.int32))
    with pytest.raises(UserError, match="captured none of A's sources"):
        carry(nowhere, reader_of(windows(1), x), SETTINGS, lambda *_: None)


def test_the_strongest_are_kept_however_the_codes_come() -> None:
    random = np.random.default_rng(0)
    atom, coefficient = random.integers(0, 5, 900), random.integers(-40, 40, 900).astype(np.float32)  # with equal ones
    kept = reembed._Strongest(6)
    for part in np.array_split(np.arange(900), 13):
        kept.add(atom[part], part.astype(np.int32), coefficient[part])
    frame = kept.frame()
    for each in range(6):
        own = np.flatnonzero(atom == each)
        expected = own[np.argsort(-coefficient[own], kind="stable")][:CONTEXTS]
        assert frame["token"][frame["atom"] == each].tolist() == expected.tolist()


# Real models


def of_layer_3(root: Path) -> tuple[DictionaryManifest, DictionaryManifest]:
    a, b = (each for each in Library(root).records() if isinstance(each, DictionaryManifest) and each.site.layer == 3)
    return a, b


def test_itda_transplant_carries_every_atom_over(
    transplanted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, (a, b) = Library(transplanted), of_layer_3(transplanted)
    found = read_transplant(here, a, b)
    assert found is not None
    assert read_transplant(here, b, a) is None  # the other direction is another
    assert found.summary.transplanted == found.summary.atoms == a.n_atoms == len(found.atoms)
    assert found.summary.tokens == a.n_tokens
    assert 0.1 < (found.summary.correlation or 0) < 1
    assert b.relative_error / 2 < found.summary.relative_error < 1
    fires = Pair(here.index_path(a.id), here.index_path(b.id), "token").fires("a")
    assert found.atoms["fires_a"].tolist() == (fires - 1).tolist()  # all tokens are common; without the source
    # What is there is read, not measured again; and --json prints it.
    monkeypatch.setattr(transplant, "_write", lambda *_: pytest.fail("measured again"))
    assert main(["transplant", a.id, b.id, "--json", "--library", str(transplanted)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["a"], said["b"], said["atoms"], said["key"]) == (a.id, b.id, a.n_atoms, "token")
    assert main(["transplant", a.id, b.id, "--library", str(transplanted)]) == 0
    printed = capsys.readouterr().out
    assert f"{a.n_atoms:,} of A's {a.n_atoms:,} atoms have a transplant" in printed
    # The median is over those of which both fire, and says so.
    table = found.atoms.dropna()
    both = table["fires"].to_numpy(int).astype(bool) & table["fires_a"].to_numpy(int).astype(bool)
    assert 0 < found.summary.compared == np.count_nonzero(both) <= a.n_atoms
    assert found.summary.correlation == pytest.approx(np.median(table["correlation"][both].to_numpy(float)))
    assert found.summary.silent == (found.atoms["fires"] == 0).sum()
    assert f"over {found.summary.compared:,} atoms that fire on both sides" in printed
    assert f"{found.summary.silent:,} of these never fire" in printed


def test_a_model_agrees_with_itself(library: Path, tmp_path: Path) -> None:
    """The model runs anew, in other company for the sources: what it says of them must be what the index says."""
    root = tmp_path / "library"
    shutil.copytree(library, root)
    here, (a, _) = Library(root), of_layer_3(root)
    assert main(["transplant", a.id, a.id, "--library", str(root)]) == 0
    found = read_transplant(here, a, a)
    assert found is not None
    correlations = found.atoms["correlation"].dropna().to_numpy(float)
    assert len(correlations) > a.n_atoms / 2
    assert np.mean(correlations > 0.999) > 0.99
    with duckdb.connect(str(here.index_path(a.id)), read_only=True) as index:
        others = "error IS NOT NULL AND token NOT IN (SELECT token FROM atoms)"
        ((expected,),) = index.execute(f"SELECT avg(error) FROM tokens WHERE {others}").fetchall()
    assert found.summary.relative_error == pytest.approx(expected, rel=1e-3)
    atom = int(found.atoms["fires"].to_numpy(int).argmax())
    own = found.atom(atom)
    assert own is not None
    assert (own.fires, own.fires_a, len(found.examples(atom))) == (own.together, own.together, CONTEXTS)
    assert own.token == Index(here.index_path(a.id)).atom(atom).token


def test_kept_activations_spare_the_model(
    library: Path, tmp_path: Path, language_reference: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "documents.jsonl"
    write_documents(corpus, language_reference[:40])
    root = tmp_path / "kept"
    options = ["--corpus", str(corpus), "--layers", "1", "--l0", "8", "--threshold", "0.3", "--tokens", "1500"]
    assert main(["build", str(MODEL_A), "--no-map", *options, "--library", str(root)]) == 0
    # On a device that has a number, as GPUs do.
    kept_on = ["--keep-activations", "--device", "cpu:0"]
    assert main(["build", str(MODEL_B), "--no-map", *options, *kept_on, "--library", str(root)]) == 0
    here = Library(root)
    a, b = (each for each in here.records() if isinstance(each, DictionaryManifest))
    assert kept_activations(here, a) is None
    kept = kept_activations(here, b)
    assert kept is not None
    assert kept.parent == here.activations
    # What is damaged of another model does not stand in the way.
    other = here.activations / f"{b.corpus}-0000000000"
    other.mkdir()
    (other / "manifest.json").write_text('{"sites": {"x": [1, "nothing"]}, "shards": []}')
    assert kept_activations(here, b) == kept
    from itda_core.models import locate

    monkeypatch.setattr(locate, "open_model", lambda *_: pytest.fail("the model was loaded"))
    assert main(["transplant", a.id, b.id, "--library", str(root)]) == 0
    spared = read_transplant(here, a, b)
    monkeypatch.undo()
    shutil.rmtree(folder_of(here, a, b))
    (kept / "manifest.json").write_text("{")
    with pytest.raises(DamagedError, match=r"manifest\.json"):
        kept_activations(here, b)
    shutil.rmtree(kept)
    assert kept_activations(here, b) is None
    assert main(["transplant", a.id, b.id, "--library", str(root)]) == 0
    anew = read_transplant(here, a, b)
    assert spared is not None
    assert anew is not None
    # They differ by what float16 leaves out.
    assert anew.summary.correlation == pytest.approx(spared.summary.correlation, abs=0.02)
    assert anew.summary.relative_error == pytest.approx(spared.summary.relative_error, abs=0.01)


def test_kept_activations_of_a_dictionary_that_does_not_name_them(tmp_path: Path, language_reference: list) -> None:
    corpus = tmp_path / "documents.jsonl"
    write_documents(corpus, language_reference[:20])
    root = tmp_path / "kept"
    options = ["--corpus", str(corpus), "--layers", "1", "--l0", "8", "--threshold", "0.3", "--tokens", "900"]
    kept_on = ["--keep-activations", "--no-holdout", "--device", "cpu"]
    assert main(["build", str(MODEL_A), "--no-map", *options, *kept_on, "--library", str(root)]) == 0
    here = Library(root)
    record = here.record(here.ids()[0])
    (kept,) = here.activations.iterdir()
    manifest = here.folder(record.id) / "manifest.json"
    said = json.loads(manifest.read_text())
    assert said.pop("activations") == kept.name
    manifest.write_text(json.dumps(said))
    other = here.activations / f"{record.corpus}-0000000000"
    other.mkdir()
    (other / "manifest.json").write_text("[]")
    assert kept_activations(here, record) == kept
    shutil.rmtree(kept)
    with pytest.raises(DamagedError, match="does not hold recorded activations"):  # it may have been the one
        kept_activations(here, record)


def test_what_cannot_be_carried_over_says_why(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    here, (a, b) = Library(root), of_layer_3(root)
    manifest = here.folder(b.id) / "manifest.json"
    sound = manifest.read_text()

    def refused() -> str:
        assert main(["transplant", a.id, b.id, "--library", str(root)]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    manifest.write_text(sound.replace('"model": "docs-b"', '"model": "no-such-model"'))
    assert "the folder of the model no-such-model is not known here" in refused()
    manifest.write_text(sound.replace(f'"weights_sha256": "{b.weights_sha256}"', '"weights_sha256": null'))
    line = refused()
    assert "ran on a server" in line
    assert "--keep-activations" in line and f"bring activations/{b.corpus}-" in line
    manifest.write_text(sound.replace(f'"corpus": "{b.corpus}"', '"corpus": "another"'))
    assert "choose two dictionaries of one corpus" in refused()
    assert read_transplant(here, a, b) is None


def broken_in(folder: Path) -> Iterator[None]:
    """Damages the files of a transplant in one way after another."""
    sound = {path.name: path.read_bytes() for path in folder.glob("transplant*")}

    def restore() -> None:
        for name, content in sound.items():
            (folder / name).write_bytes(content)

    text = sound["transplant.json"].decode()
    said = json.loads(text)
    changes = [
        {"correlation": 3},
        {"correlation": said["correlation"] / 2},
        {"correlation": None},
        {"relative_error": -1},
        {"transplanted": said["atoms"] + 1},
        {"compared": said["compared"] - 1},
        {"silent": said["silent"] + 1},
        {"tokens": 10**12},
        {"tokens": 0},
        {"l0": 10**400},
        {"key": "x"},
        {"a": said["b"]},
        {"b": "another"},
        {"files": {}},
    ]
    for changed in (text[:40], "[]", *(json.dumps(said | change) for change in changes)):
        (folder / "transplant.json").write_text(changed)
        yield
        restore()
    for name in (kept_transplant.ATOMS_FILE, kept_transplant.CONTEXTS_FILE):
        for content in (b"PAR1", sound[name][:-9], b""):
            (folder / name).write_bytes(content)
            yield
            restore()
        (folder / name).unlink()
        yield
        restore()
        # Sound to look at, with the hash to go with it, yet of something else.
        pd.read_parquet(folder / name).iloc[:-1].to_parquet(folder / kept_transplant.ATOMS_FILE)
        hashes = {each: kept_transplant.sha256_of(folder / each) for each in said["files"]}
        (folder / "transplant.json").write_text(json.dumps(said | {"files": hashes}))
        yield
        restore()


def test_a_damaged_transplant_is_refused_with_one_line(transplanted: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(transplanted, root)
    here, (a, b) = Library(root), of_layer_3(root)
    ways = 0
    for _ in broken_in(folder_of(here, a, b)):
        with pytest.raises(DamagedError, match=r"is damaged|is not valid JSON") as refused:
            read_transplant(here, a, b)
        assert "\n" not in str(refused.value)
        ways += 1
    assert ways == 26
    assert read_transplant(here, a, b) is not None
    summary = folder_of(here, a, b) / "transplant.json"
    summary.write_text(summary.read_text().replace('"version": 2', '"version": 1'))
    assert read_transplant(here, a, b) is None  # another version is none, and is written over
    assert main(["transplant", a.id, b.id, "--library", str(root)]) == 0
    assert read_transplant(here, a, b) is not None


def test_itda_verify_checks_transplants(transplanted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "library"
    shutil.copytree(transplanted, root)
    here, (a, b) = Library(root), of_layer_3(root)
    folder = folder_of(here, a, b)
    assert not (folder / "comparison.json").exists()
    capsys.readouterr()
    assert main(["verify", "--json", "--library", str(root)]) == 0
    assert folder.name in json.loads(capsys.readouterr().out)["checked"]
    path = folder / kept_transplant.CONTEXTS_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["verify", "--library", str(root)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{folder.name}: the transplant of comparison ")
    assert f"{path.name} is not the file that was written" in said[0]


# What no job can have found, a column of one of the tables at a time: the change is made to its first value.
IMPOSSIBLE = [
    ("atom", "atom", 5, "not of these dictionaries"),
    ("atom", "token", -3, "tokens that there are not"),
    ("atom", "token", 10**9, "tokens that there are not"),
    ("atom", "token", None, "half a transplant"),
    ("atom", "fires", -5, "counts that cannot be"),
    ("atom", "fires", 10**9, "counts that cannot be"),
    ("atom", "fires_a", 10**9, "counts that cannot be"),
    ("atom", "together", 99_999, "counts that cannot be"),
    ("atom", "together", -1, "counts that cannot be"),
    ("atom", "strongest", np.inf, "coefficients that cannot be"),
    ("atom", "strongest", 0, "coefficients that cannot be"),
    ("atom", "correlation", 7.0, "correlations that are none"),
    ("atom", "correlation", -np.inf, "correlations that are none"),
    ("context", "atom", 3, "tokens of other atoms"),
    ("context", "rank", 1, "tokens of other atoms, or in another order"),
    ("context", "token", -3, "tokens that there are not"),
    ("context", "token", 2**31 - 1, "tokens that there are not"),
    ("context", "coefficient", np.inf, "coefficients that cannot be"),
    ("context", "coefficient", np.nan, "coefficients that cannot be"),
    ("context", "coefficient", -1e-3, "coefficients that cannot be"),
]


def with_hashes(folder: Path) -> None:
    """The summary names the tables as they are now."""
    summary = folder / "transplant.json"
    said = json.loads(summary.read_text())
    hashes = {each: kept_transplant.sha256_of(folder / each) for each in said["files"]}
    summary.write_text(json.dumps(said | {"files": hashes}))


def test_values_that_cannot_be_are_refused(transplanted: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(transplanted, root)
    here, (a, b) = Library(root), of_layer_3(root)
    folder = folder_of(here, a, b)
    kept = read_transplant(here, a, b)
    assert kept is not None
    first = int((kept.atoms["fires"] > CONTEXTS).idxmax())  # one that has all that an atom can have
    tables = {
        "atom": (kept_transplant.ATOMS_FILE, ATOM_SCHEMA, kept.atoms, first),
        "context": (
            kept_transplant.CONTEXTS_FILE,
            CONTEXT_SCHEMA,
            kept.contexts.astype({"coefficient": "float64"}),
            int((kept.contexts["atom"] == first).idxmax()),
        ),
    }
    for which, column, value, line in IMPOSSIBLE:
        name, schema, table, row = tables[which]
        sound = (folder / name).read_bytes()
        changed = table.copy()
        changed.loc[row, column] = pd.NA if value is None else value
        write_table(changed, folder / name, schema)
        with_hashes(folder)
        with pytest.raises(DamagedError, match=f"{name} .*{line}") as refused:
            read_transplant(here, a, b)
        assert "\n" not in str(refused.value), (which, column, value)
        (folder / name).write_bytes(sound)
    with_hashes(folder)
    assert read_transplant(here, a, b) is not None


def test_tables_of_other_kinds_and_sizes_are_refused_unread(transplanted: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(transplanted, root)
    here, (a, b) = Library(root), of_layer_3(root)
    folder = folder_of(here, a, b)
    path = folder / kept_transplant.ATOMS_FILE
    table = parquet.read_table(path)
    nested = pa.array([[1]] * a.n_atoms, pa.list_view(pa.int32()))  # nothing that pandas has
    for changed, line in (
        (table.set_column(1, "token", nested), "columns of other kinds"),
        (table.set_column(1, "token", pa.array([1.5] * a.n_atoms)), "columns of other kinds"),
        (table.drop_columns(["together"]), "cannot be read"),
        (pa.concat_tables([table] * 3), "not of these dictionaries"),
    ):
        parquet.write_table(changed, path)
        with_hashes(folder)
        with pytest.raises(DamagedError, match=line):
            read_transplant(here, a, b)


def test_where_every_token_is_a_source_no_error_was_measured(tmp_path: Path) -> None:
    x = activations_of(6)
    cut = windows(1, documents=2)
    sources = [tuple(place) for place in places_of(cut).tolist()]
    a = write_index(tmp_path / "a", cut, sources, codes_over(x, list(range(6))))
    b = write_index(tmp_path / "b", cut, [(0, 1)])
    assert carry(Pair(a, b, "token"), reader_of(cut, x), SETTINGS, lambda *_: None).relative_error is None


def test_what_nothing_was_measured_of_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = TransplantSummary("a", "b", "token", 6, 6, 6, 3, 0, 4, None, None)
    monkeypatch.setattr(transplant, "transplant", lambda *_: found)
    monkeypatch.setattr(command_line, "_check", lambda _: None)  # there is no library to find A and B in
    assert main(["transplant", "a", "b", "--library", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "no correlation: no atom" in printed
    assert "no relative error was measured" in printed
    assert TransplantSummary.parse(asdict(found)) == found


@pytest.mark.parametrize("pieces", [1, 2])
def test_progress_ends_where_its_total_is(tmp_path: Path, pieces: int) -> None:
    # B read six of twelve documents, and of A's eight sources it has six.
    x = activations_of(36)
    cut = windows(pieces, documents=6)
    a = write_index(tmp_path / "a", windows(1), SOURCES, codes_over(x, rows_at(windows(1), SOURCES)))
    pair = Pair(a, write_index(tmp_path / "b", cut, [(0, 1)]), "token" if pieces == 1 else "characters")
    done: dict[str, int] = {}
    totals: dict[str, set[int]] = {}

    def advance(what: str, amount: int, total: int) -> None:
        done[what] = done.get(what, 0) + amount
        totals.setdefault(what, set()).add(total)

    carry(pair, reader_of(cut, activations_of(len(places_of(cut)))), SETTINGS, advance)
    assert done == {"sources": 6, "tokens": 18}
    assert totals == {"sources": {6}, "tokens": {18}}


def test_a_process_that_waited_for_the_lock_reads_what_the_other_found(
    transplanted: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b = of_layer_3(root)

    @contextmanager
    def taken(*_: object) -> Iterator[None]:
        """The lock, just given back by one that has finished."""
        shutil.copytree(transplanted / "comparisons", root / "comparisons")
        yield

    monkeypatch.setattr(transplant, "build_lock", taken)
    monkeypatch.setattr(transplant, "_reader", lambda *_: pytest.fail("measured again"))
    assert main(["transplant", a.id, b.id, "--library", str(root)]) == 0
