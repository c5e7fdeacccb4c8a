"""Two dictionaries compared: counts, chance and matches worked out by hand, and real dictionaries from the pipeline."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from itda_core.cli.command_line import main
from itda_core.common.errors import DamagedError, UserError
from itda_core.common.keys import sources_of
from itda_core.comparison import compare
from itda_core.comparison.chance import bootstrap
from itda_core.comparison.compare import summarise
from itda_core.comparison.matching import best_matches, passes
from itda_core.dictionary.dictionary import Dictionary
from itda_core.index import memory
from itda_core.jobs.read import read_jobs
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries import pair_tokens
from itda_core.queries.atoms import Index
from itda_core.queries.filters import AtomFilter
from itda_core.queries.pair_filters import LEAST_TOGETHER, PAIR_SORTS, PairFilter
from itda_core.queries.pair_tokens import Measures
from itda_core.queries.pairs import Pair, PartCounts
from itda_core.reports.chance import chance
from itda_core.reports.comparison import SUMMARY_FILE, folder_of, kept_pairs, read_comparison, read_measures
from tests.support.places import REPOSITORY
from tests.support.small_pair import DOCUMENTS, windows, write_index

A_SOURCES = [(0, 1), (0, 2), (1, 1), (2, 3)]
B_SOURCES = [(3, 1), (1, 1), (0, 2)]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """One token a word: A and B share (0, 2) and (1, 1)."""
    cut = windows(1)
    return Pair(write_index(tmp_path / "a", cut, A_SOURCES), write_index(tmp_path / "b", cut, B_SOURCES), "token")


# By hand


def test_atoms_with_the_same_source_are_twins(pair: Pair) -> None:
    assert pair.counts() == PartCounts(both=2, a=2, b=1)
    assert pair.counts().jaccard == 2 / 5
    assert pair.page(PairFilter("both"))[["a", "b"]].to_numpy().tolist() == [[1, 2], [2, 1]]
    assert pair.page(PairFilter("a"))["a"].tolist() == [0, 3]
    assert pair.page(PairFilter("b"))["b"].tolist() == [0]
    assert (pair.twin(1), pair.twin(2, "b"), pair.twin(0), pair.twin(0, "b")) == (2, 1, None, None)


def test_candidates_are_captured_on_both_sides_and_never_held_out(pair: Pair, tmp_path: Path) -> None:
    # 12 documents of 4 tokens: the first is not captured, and document 9 gives no source.
    assert pair.coverage() == (1.0, 1.0, 33)
    found = summarise(pair, "a", "b", "token")
    expected = 4 * 3 / 33
    assert found.chance == pytest.approx(expected / (7 - expected))
    assert (found.shared, found.only_a, found.only_b, found.documents) == (2, 2, 1, 11)
    # The other side read only six documents and held none out.
    less = write_index(tmp_path / "less", windows(1, documents=6), B_SOURCES, holdout=False)
    shorter = Pair(tmp_path / "a" / "index.duckdb", less, "token")
    assert shorter.coverage() == (0.5, 1.0, 18)


def test_chance_among_equally_frequent_tokens(tmp_path: Path) -> None:
    # Every second word is the one frequent token 1 (24 of 48, 6 + 6 … of the candidates), the others occur once each.
    ids = [1 if at % 2 else 100 + at for at in range(48)]
    cut = windows(1, ids)
    pair = Pair(write_index(tmp_path / "a", cut, A_SOURCES), write_index(tmp_path / "b", cut, B_SOURCES), "token")
    # Captured positions are 1, 2, 3 in 11 documents: 22 times the frequent token, 11 rare ones.
    strata = pair.strata()
    assert strata.to_numpy().tolist() == [[11, 1, 1, 1], [22, 3, 2, 1]]
    expected = 1 * 1 / 11 + 3 * 2 / 22
    assert summarise(pair, "a", "b", "token").chance_frequency == pytest.approx(expected / (7 - expected))


def test_other_tokenizers_join_where_a_token_ends(tmp_path: Path) -> None:
    # B cuts each word in two: 7 of its 8 tokens a document are captured, of which 4 end where a word does; A captured
    # the last 3 of its 4 words.
    a = write_index(tmp_path / "a", windows(1), A_SOURCES)
    b = write_index(tmp_path / "b", windows(2), [(0, 5), (1, 3), (3, 2)])
    pair = Pair(a, b, "characters")
    assert pair.page(PairFilter("both"))[["a", "b"]].to_numpy().tolist() == [[1, 0], [2, 1]]
    assert pair.counts() == (2, 2, 1)
    assert pair.coverage() == pytest.approx((1.0, 3 / 7, 33))
    assert pair.page(PairFilter("b"))["b_label"].tolist() == ["b0"]


def test_of_tokens_that_end_at_one_character_the_last_stands_for_it(tmp_path: Path) -> None:
    # Bytes of a character: both tokens of the second word have its whole span.
    bytes_ = [window._replace(spans=[(0, 5), (5, 10), (5, 10), (10, 20)]) for window in windows(1)]
    whole = [window._replace(spans=[(0, 5), (5, 10), (10, 15), (15, 20)]) for window in windows(1)]
    a = write_index(tmp_path / "a", bytes_, [(0, 1), (0, 2)])
    b = write_index(tmp_path / "b", whole, [(0, 1)])
    found = Pair(a, b, "characters").page(PairFilter("both"))
    assert found[["a", "b"]].to_numpy().tolist() == [[1, 0]]


def test_a_dictionary_is_all_its_own_twins(tmp_path: Path) -> None:
    path = write_index(tmp_path / "a", windows(1), A_SOURCES)
    found = summarise(Pair(path, path, "token"), "a", "a", "token")
    assert (found.jaccard, found.shared, found.only_a, found.only_b) == (1.0, 4, 0, 0)
    assert found.interval == (1.0, 1.0)


def test_a_search_looks_on_both_sides(pair: Pair) -> None:
    word = DOCUMENTS[3].text[5:9]  # the source of B's first atom
    assert pair.counts(word.upper()) == (0, 0, 1)
    assert pair.page(PairFilter("b", word))["b"].tolist() == [0]
    assert pair.page(PairFilter("a", word)).empty
    assert pair.counts("'; DROP TABLE pairs; --") == (0, 0, 0)
    assert pair.counts() == (2, 2, 1)


def test_pages_are_cut_from_the_whole_order(pair: Pair) -> None:
    whole = pair.page(PairFilter("a"), "error", True)
    assert whole["a_admission_error"].is_monotonic_decreasing
    pages = [pair.page(PairFilter("a"), "error", True, offset, 1)["a"].tolist() for offset in (0, 1, 2)]
    assert pages == [[0], [3], []]
    for sort in PAIR_SORTS:
        assert len(pair.page(PairFilter("both"), sort)) == 2
    with pytest.raises(UserError, match="no order by 'atom; DROP'"):
        pair.page(PairFilter("a"), "atom; DROP")
    with pytest.raises(UserError, match="no part"):
        PairFilter("c")


def test_nothing_can_be_read_from_elsewhere(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DamagedError):
        pair._frame(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')")
    with pytest.raises(DamagedError):
        pair._frame("SET enable_external_access = true")
    with pytest.raises(DamagedError):
        pair._frame("DELETE FROM a.atoms")


# Chance and interval


def test_chance_is_what_blind_choices_come_to() -> None:
    random = np.random.default_rng(0)
    stratum = random.integers(0, 4, 3000)
    weights = np.array([0.02, 0.05, 0.2, 0.4])[stratum]
    a, b = (random.random(3000) < weights for _ in "ab")
    strata = pd.DataFrame(
        [(np.sum(stratum == s), np.sum(a[stratum == s]), np.sum(b[stratum == s])) for s in range(4)],
        columns=["n", "a", "b"],
    )
    drawn = []
    for _ in range(300):
        shuffled = a.copy()
        for s in range(4):
            shuffled[stratum == s] = random.permutation(a[stratum == s])
        drawn.append(np.sum(shuffled & b) / np.sum(shuffled | b))
    assert chance(strata, a.sum(), b.sum()) == pytest.approx(np.mean(drawn), abs=3 * np.std(drawn) / np.sqrt(300))


def test_the_interval_covers_what_it_estimates() -> None:
    random = np.random.default_rng(1)

    def documents(n: int) -> pd.DataFrame:
        often = random.gamma(2.0, size=n)  # documents differ in how many atoms they give, and in how many are shared
        alike = random.beta(2, 3, size=n)
        shared = random.poisson(often * 4 * alike)
        rest = random.poisson(often * 4 * (1 - alike))
        return pd.DataFrame({"both": shared, "a": rest // 2, "b": rest - rest // 2})

    large = documents(200_000).sum()
    true = large["both"] / large.sum()
    covered = sum(low <= true <= high for low, high in (bootstrap(documents(200)) for _ in range(60)))
    assert 51 <= covered <= 60
    low, high = bootstrap(documents(200))
    wide = bootstrap(documents(20))
    assert high - low < wide.high - wide.low


# Matches


def dense_matches(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best match of each column of `a` among those of `b` by numpy's own correlation: other (−1 for none), value."""
    together = (a != 0).T.astype(int) @ (b != 0)
    values = np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :]
    values = np.where(together >= LEAST_TOGETHER, values, -2)
    best = values.argmax(1)
    return np.where(values.max(1) > -2, best, -1), values.max(1)


@pytest.mark.parametrize("held", [1 << 26, 40])
@pytest.mark.parametrize("pieces", [1, 2])
def test_matches_are_those_of_plain_correlation(tmp_path: Path, held: int, pieces: int) -> None:
    random = np.random.default_rng(3)
    n_a, n_b = 36, 36 if pieces == 1 else 84
    a = random.normal(size=(n_a, 9)) * (random.random((n_a, 9)) < 0.5)
    b = random.normal(size=(n_b, 6)) * (random.random((n_b, 6)) < 0.5)
    # Of B's tokens, those that end where A's captured ones do.
    common = np.arange(n_b) if pieces == 1 else np.flatnonzero(np.tile([0, 0, 1, 0, 1, 0, 1], 12))
    b[common, 2] = a[:, 4] * 2 + 0.01 * (a[:, 4] != 0)  # a match that must be found
    a[:, 7] = 0
    a[:3, 7] = 1  # fires too seldom for one
    path_a = write_index(tmp_path / "a", windows(1), [(n, 1) for n in range(9)], a)
    path_b = write_index(tmp_path / "b", windows(pieces), [(n, 1) for n in range(6)], b)
    pair = Pair(path_a, path_b, "token" if pieces == 1 else "characters")
    told: list[int] = []
    found = best_matches(pair, told.append, held)
    assert told[-1] == np.count_nonzero(a) * passes(pair, held)
    assert passes(pair, held) == (1 if held > 40 else pytest.approx(passes(pair, held)))
    assert (passes(pair, held) > 1) == (held == 40)
    for side, (x, y) in {"a": (a, b[common]), "b": (b[common], a)}.items():
        frame = getattr(found, side)
        other, value = dense_matches(x, y)
        assert frame["other"].fillna(-1).tolist() == other.tolist()
        has = other >= 0
        assert np.allclose(frame["correlation"][has].to_numpy(float), value[has], atol=1e-5)
        together = [np.sum((x[:, i] != 0) & (y[:, o] != 0)) for i, o in enumerate(other) if o >= 0]
        assert frame["together"][has].tolist() == together
        weight = np.abs(x).sum(0) / np.abs(x).sum()
        assert np.allclose(frame["weight"], weight, atol=1e-6)
    assert found.a["other"].tolist()[4] == 2
    assert pd.isna(found.a["other"].tolist()[7])


def test_an_atom_that_says_the_opposite_is_no_match(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    a = random.normal(size=(36, 1))
    b = np.hstack([-a, a + random.normal(size=(36, 1))])
    path_a = write_index(tmp_path / "a", windows(1), [(0, 1)], a)
    path_b = write_index(tmp_path / "b", windows(1), [(0, 2), (0, 3)], b)
    found = best_matches(Pair(path_a, path_b, "token"), lambda _: None)
    assert found.a["other"].tolist() == [1]


def test_lists_have_what_was_measured(pair: Pair, tmp_path: Path) -> None:
    assert pair.page(PairFilter("a"))["a_correlation"].isna().all()
    assert pair.measured(0).empty
    rows_a = [(0, 2, 0.5, 9, 0.1), (1, 2, 0.9, 9, 0.2), (2, None, None, None, 0.3), (3, 0, 0.7, 9, 0.4)]
    rows_b = [(0, 3, 0.7, 9, 0.5), (1, None, None, None, 0.1), (2, 1, 0.9, 9, 0.4)]
    columns = ["atom", "other", "correlation", "together", "weight"]
    measures = Measures(pd.DataFrame(rows_a, columns=columns), pd.DataFrame(rows_b, columns=columns))
    both = Pair(tmp_path / "a" / "index.duckdb", tmp_path / "b" / "index.duckdb", "token", measures)
    assert both.page(PairFilter("a"), "match", True)["a"].tolist() == [3, 0]
    # Twins are (1, 2) and (2, 1): their weights go from 0.2 to 0.4, and from 0.3 to 0.1.
    assert both.page(PairFilter("both"), "change", True)["a"].tolist() == [1, 2]
    assert both.measured(3)["other"].tolist() == [0]
    assert both.carried() == pytest.approx((0.1 + 0.4, 0.5))  # atoms 0 and 3 of A, atom 0 of B
    assert pair.carried() == (0, 0)
    assert both.twins() == {1: 2, 2: 1}
    # Atoms 3 of A and 0 of B are each other's best match, which is one line; atom 0 of A has one that has a twin.
    assert both.matches()[["a", "b"]].to_numpy().tolist() == [[3, 0], [0, 2]]
    # Kinds of source tokens are those of the labels; of each, the atoms without a twin come first.
    kinds, weights = {}, {"a": [0.1, 0.2, 0.3, 0.4], "b": [0.5, 0.1, 0.4]}
    for side in ("a", "b"):
        labels = Index(tmp_path / side / "index.duckdb").page(AtomFilter())["label"].tolist()
        for atom, label in enumerate(labels):
            kinds.setdefault(label.strip(), {"a": [], "b": []})[side].append(atom)
    found = both.kinds().set_index("label")
    assert set(found.index) == {*kinds} and found["change"].is_monotonic_decreasing
    for label, atoms in kinds.items():
        row = found.loc[label]
        for side in ("a", "b"):
            assert row[f"{side}_atoms"] == len(atoms[side])
            assert row[f"{side}_weight"] == pytest.approx(sum(weights[side][atom] for atom in atoms[side]))
            twins = {"a": {1, 2}, "b": {1, 2}}[side]
            ordered = sorted(atoms[side], key=lambda atom: (atom in twins, -weights[side][atom], atom))
            assert list(row[f"{side}_examples"]) == ordered[:3]
    assert (pair.kinds()["change"] == 0).all()


# Real dictionaries


def sound(root: Path) -> list[DictionaryManifest]:
    return [record for record in Library(root).records() if isinstance(record, DictionaryManifest)]


def test_itda_compare_counts_what_the_atoms_files_say(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    here = Library(root)
    a, b = (record for record in sound(root) if record.site.layer == 3)
    assert read_comparison(here, a, b) is None
    assert main(["compare", a.id, b.id, "--json", "--library", str(root)]) == 0
    said = json.loads(capsys.readouterr().out)
    of_a, of_b = (
        {tuple(source) for source in Dictionary.load(here.folder(record.id)).sources.tolist()} for record in (a, b)
    )
    assert said["key"] == "token"
    assert said["coverage"] == 1.0
    assert said["shared"] == len(of_a & of_b) > 0
    assert (said["only_a"], said["only_b"]) == (len(of_a - of_b), len(of_b - of_a))
    assert said["jaccard"] == len(of_a & of_b) / len(of_a | of_b)
    assert 0 < said["chance"] < said["chance_frequency"] < said["interval"][0] < said["jaccard"] < said["interval"][1]
    assert read_jobs(root)[0].status == "done"
    measures = read_measures(here, a, b)
    assert measures is not None
    assert len(measures.a) == a.n_atoms
    assert measures.b["weight"].sum() == pytest.approx(1)
    # A second run reads what is there.
    monkeypatch.setattr(compare, "summarise", lambda *_: pytest.fail("measured again"))
    assert main(["compare", a.id, b.id, "--library", str(root)]) == 0
    assert f"{said['shared']:,} atoms have the same source" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused_with_the_reason(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b, *_ = sound(root)
    manifest = Library(root).folder(b.id) / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"corpus": "{b.corpus}"', '"corpus": "another"'))
    assert main(["compare", a.id, b.id, "--library", str(root)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "corpus another" in said or "on another" in said
    assert main(["compare", a.id, "nothing", "--library", str(root)]) == 2
    assert "there is no dictionary 'nothing'" in capsys.readouterr().err


def test_half_a_comparison_is_none(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    here = Library(root)
    a, b, *_ = sound(root)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "write_sealed", killed)
    assert main(["compare", a.id, b.id, "--library", str(root)]) == 130
    assert read_comparison(here, a, b) is None
    assert read_measures(here, a, b) is None
    monkeypatch.undo()
    assert main(["compare", a.id, b.id, "--library", str(root)]) == 0
    found = read_comparison(here, a, b)
    assert found is not None
    assert found.shared + found.only_a == a.n_atoms


@pytest.fixture(scope="module")
def compared(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in which its first two dictionaries were compared. Copy it before writing to it."""
    root = tmp_path_factory.mktemp("compared") / "library"
    shutil.copytree(library, root)
    a, b, *_ = sound(root)
    assert main(["compare", a.id, b.id, "--library", str(root)]) == 0
    return root


def test_kept_pairs_are_found_by_the_names_of_their_folders(library: Path, tmp_path: Path) -> None:
    first = sound(library)[0]
    x, y, z = (replace(first, id=name) for name in ("x", "x--y", "y--z"))
    here = Library(tmp_path / "library")
    assert kept_pairs(here, [x, y, z]) == {}
    rebuilt = replace(y, files={name: "0" * 64 for name in y.files})
    kept = [(z, x), (x, y), (x, z), (z, z)]
    for a, b in [*kept, (rebuilt, x), (x, replace(first, id="gone"))]:
        folder_of(here, a, b).mkdir(parents=True)
        (folder_of(here, a, b) / SUMMARY_FILE).touch()
    folder_of(here, y, y).mkdir()  # half a comparison
    (here.comparisons / "other").mkdir()
    (here.comparisons / "other" / SUMMARY_FILE).touch()
    found = kept_pairs(here, [x, y, z])
    assert list(found.values()) == [(x, y), (x, z), (z, x), (z, z)]  # in order of the records
    assert found == {folder_of(here, a, b).name: (a, b) for a, b in kept}


def test_a_damaged_comparison_says_so(compared: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared, root)
    here = Library(root)
    a, b, *_ = sound(root)
    folder = folder_of(here, a, b)
    (folder / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedError, match=r"a\.parquet"):
        read_measures(here, a, b)
    shutil.copy(folder / "b.parquet", folder / "a.parquet")
    assert a.n_atoms != b.n_atoms
    with pytest.raises(DamagedError, match="not of these dictionaries"):
        read_measures(here, a, b)
    text = (folder / "comparison.json").read_text()
    for broken in (
        text.replace('"jaccard": 0.', '"jaccard": 7.'),
        "[]",
        "{",
        text.replace('"token"', '"x"'),
        text.replace(a.id, "another"),
    ):
        (folder / "comparison.json").write_text(broken)
        with pytest.raises(DamagedError):
            read_comparison(here, a, b)


@pytest.mark.parametrize(
    ("column", "kind", "change", "line"),
    [
        ("atom", pa.int32(), lambda atom: 5 if atom == 0 else atom, "not of these dictionaries"),
        ("atom", pa.int64(), lambda atom: atom, "columns of other kinds"),
        ("weight", pa.string(), str, "columns of other kinds"),
        ("weight", pa.float64(), lambda _: math.nan, "weights that are no shares"),
        ("weight", pa.float64(), lambda weight: -1 - weight, "weights that are no shares"),
        ("weight", pa.float64(), lambda _: None, "weights that are no shares"),
        ("correlation", pa.float32(), lambda _: math.inf, "correlations that are none"),
        ("correlation", pa.float32(), lambda _: math.nan, "half a match"),
        ("other", pa.int32(), lambda other: other + 10**6, "atoms that there are not"),
        ("other", pa.int32(), lambda other: -1 - other, "atoms that there are not"),
        ("other", pa.int32(), lambda _: None, "half a match"),
        ("together", pa.int32(), lambda together: -together, "never fire together"),
    ],
)
def test_measures_that_cannot_be_are_refused(
    compared: Path, tmp_path: Path, column: str, kind: pa.DataType, change: Callable, line: str
) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared, root)
    a, b, *_ = sound(root)
    path = folder_of(Library(root), a, b) / "a.parquet"
    table = parquet.read_table(path)
    values = [None if value is None else change(value) for value in table.column(column).to_pylist()]
    changed = table.set_column(table.schema.get_field_index(column), column, pa.array(values, kind))
    parquet.write_table(changed, path)
    with pytest.raises(DamagedError, match=line) as refused:
        read_measures(Library(root), a, b)
    assert "delete its folder" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bit_that_turned_is_found(compared: Path, tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared, root)
    a, b, *_ = sound(root)
    path = folder_of(Library(root), a, b) / "b.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"b\.parquet .* cannot be read: delete its folder"):
        read_measures(Library(root), a, b)


def test_the_other_order_is_the_same_comparison_mirrored(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, *_ = sound(compared)
    mirrored, mirrored_measures = read_comparison(Library(compared), b, a), read_measures(Library(compared), b, a)
    assert mirrored is not None and mirrored_measures is not None
    monkeypatch.setattr(compare, "summarise", lambda *_: pytest.fail("measured again"))
    assert main(["compare", b.id, a.id, "--library", str(compared)]) == 0
    monkeypatch.undo()
    root = tmp_path / "library"  # what it is when it is measured in this order
    shutil.copytree(compared, root)
    shutil.rmtree(root / "comparisons")
    assert main(["compare", b.id, a.id, "--library", str(root)]) == 0
    own, own_measures = read_comparison(Library(root), b, a), read_measures(Library(root), b, a)
    assert own is not None and own_measures is not None
    assert (mirrored.a, mirrored.b, mirrored.only_a, mirrored.only_b) == (b.id, a.id, own.only_a, own.only_b)
    for name, value in asdict(own).items():
        assert getattr(mirrored, name) == (value if isinstance(value, str) else pytest.approx(value)), name
    for side in ("a", "b"):
        pd.testing.assert_frame_equal(getattr(mirrored_measures, side), getattr(own_measures, side))


def test_a_process_that_waited_for_the_lock_reads_what_the_other_found(
    compared: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "library"
    shutil.copytree(library, root)
    a, b, *_ = sound(root)

    @contextmanager
    def taken(*_: object) -> Iterator[None]:
        """The lock, just given back by one that has compared the two in the other order."""
        shutil.copytree(compared / "comparisons", root / "comparisons")
        yield

    monkeypatch.setattr(compare, "build_lock", taken)
    monkeypatch.setattr(compare, "summarise", lambda *_: pytest.fail("measured again"))
    assert main(["compare", b.id, a.id, "--library", str(root)]) == 0
    assert len(list((root / "comparisons").iterdir())) == 1


def test_itda_verify_checks_comparisons(compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "library"
    shutil.copytree(compared, root)
    a, b, *_ = sound(root)
    folder = folder_of(Library(root), a, b)
    # What was left of a job that was killed, or of a dictionary that is here no more, is no comparison.
    (root / "comparisons" / "half").mkdir()
    shutil.copytree(folder, root / "comparisons" / "gone--other-0123456789")
    capsys.readouterr()
    assert main(["verify", "--json", "--library", str(root)]) == 0
    assert folder.name in json.loads(capsys.readouterr().out)["checked"]
    (folder / "b.parquet").write_bytes(b"")
    assert main(["verify", "--library", str(root)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{folder.name}: b.parquet") and said[0].endswith("delete its folder")
    assert len(said) == 2


@pytest.mark.parametrize("pieces", [1, 2])
def test_tokens_are_joined_some_documents_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    # 48 tokens of A and 48 or 96 of B: joined at once, and in parts of a few documents.
    ids = [at % 5 for at in range(48)]
    a = write_index(tmp_path / "a", windows(1, ids), A_SOURCES)
    b = write_index(tmp_path / "b", windows(pieces), B_SOURCES)
    key = "token" if pieces == 1 else "characters"
    found = []
    for most in (1 << 20, 20, 1):
        monkeypatch.setattr(pair_tokens, "_TOKENS_AT_ONCE", most)
        pair = Pair(a, b, key)
        found.append(
            (pair.coverage(), pair.strata().to_numpy().tolist(), [each.tolist() for each in pair.common_tokens()])
        )
        with pair._in_use() as connection, connection.cursor() as cursor:
            ranges = list(pair._document_ranges(cursor))
        assert len(ranges) == {1 << 20: 1, 1: 12}.get(most, pytest.approx(6, abs=2))
    assert found[0] == found[1] == found[2]
    assert found[0][0].candidates == 33
    assert len(found[0][2][0]) == 36


def test_comparing_many_tokens_stays_within_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 1.2 M tokens against 0.9 M of another tokenizer, whose join at once takes more than this.
    monkeypatch.setattr(memory, "_LEAST", 64_000_000)
    monkeypatch.setattr(memory, "_PER_BYTE", 0)
    monkeypatch.setattr(pair_tokens, "_TOKENS_AT_ONCE", 1 << 16)
    paths = []
    for name, per_document, width in (("a", 120, 6), ("b", 90, 8)):
        path = write_index(tmp_path / name, windows(1), A_SOURCES)
        with duckdb.connect(str(path)) as connection:
            connection.execute("DELETE FROM tokens; DELETE FROM documents")
            connection.execute(
                f"""
                INSERT INTO documents BY NAME
                SELECT document::INTEGER AS document, '' AS name, '' AS text, false AS held_out
                FROM range(10000) each(document);
                INSERT INTO tokens BY NAME
                SELECT (document * {per_document} + position)::INTEGER AS token, document::INTEGER AS document,
                    position::INTEGER AS position, 0 AS token_id, (position * {width})::INTEGER AS start,
                    ((position + 1) * {width})::INTEGER AS stop, '' AS text, 0.5 AS error
                FROM range(10000) each(document), range({per_document}) place(position) ORDER BY token
                """
            )
        paths.append(path)
    pair = Pair(paths[0], paths[1], "characters")
    assert pair.coverage() == (0.25, 1 / 3, 300_000)  # every 24 characters, that is 30 times a document
    assert pair.strata()["n"].sum() == 300_000
    places = pair.common_places()
    document, place = np.divmod(np.arange(300_000), 30)
    assert np.array_equal(places.token_b, document * 90 + 3 * place + 2)  # the third of three, as the fourth of four
    assert np.array_equal(places.token_a, document * 120 + 4 * place + 3)
    assert np.array_equal(sources_of(places.key), np.stack([document, 3 * place + 2], 1))
    # Of A's sources, whose ordinals are those that they had in documents of four tokens, the last is a common token.
    assert places.token_a[places.atom >= 0].tolist() == [11]
    assert places.atom.max() == 3
    # With one tokenizer all 1.2 M are common, which do not go through a join and an order at once either.
    places = Pair(paths[0], paths[0], "token").common_places()
    assert np.array_equal(places.token_b, np.arange(1_200_000))
    assert np.array_equal(sources_of(places.key), np.stack(np.divmod(np.arange(1_200_000), 120), 1))


@pytest.mark.slow
def test_the_measure_of_comparing_at_full_size_runs_at_a_small_one(tmp_path: Path) -> None:
    sizes = ["--atoms", "200", "--tokens", "5000", "--l0", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.scale_pair", tmp_path, *sizes],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["job"]["jaccard"] == pytest.approx(1 / 3, abs=0.05)  # they share half of their sources or some more
    assert report["page_after_job"].keys() == {"cold", "again", "only_a", "search", "match"}
