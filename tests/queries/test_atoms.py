"""What the index says of a real library, held against what the dictionary and the model say themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from itda_core import Codes, DamagedError, Dictionary, UserError
from itda_core.capture.local import Capture
from itda_core.common.files import read_json
from itda_core.common.types import Document
from itda_core.corpus.store import Corpus
from itda_core.corpus.token_table import TokenTable
from itda_core.corpus.windows import make_windows
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.model import load_model
from itda_core.queries.atoms import Index
from itda_core.queries.filters import SORTS, AtomFilter
from tests.support import small_pair
from tests.support.places import MODEL_A


class Truth:
    """A dictionary with its activations captured anew and encoded, beside its index."""

    def __init__(self, root: Path) -> None:
        self.library = Library(root)
        self.record = next(
            r
            for r in self.library.records()
            if isinstance(r, DictionaryManifest) and r.model == "docs-a" and r.site.layer == 3
        )
        self.dictionary = Dictionary.load(self.library.folder(self.record.id))
        self.index = Index(self.library.index_path(self.record.id))
        self.corpus = Corpus.open(self.library.corpora / self.record.corpus)
        model = load_model(str(MODEL_A), device="cpu")

        def windows():
            return make_windows(self.corpus.documents(), model.tokenizer, self.record.cut, self.record.n_tokens)

        batches = list(Capture(model, [self.record.site], windows))
        self.x = torch.cat([batch.activations[self.record.site] for batch in batches])
        self.sources = torch.cat([batch.sources for batch in batches]).numpy()
        table = TokenTable.of(windows(), True)
        self.table = table.rows()
        self.tokens = table.ordinal(self.sources[:, 0], self.sources[:, 1])
        self.codes: Codes = self.dictionary.encode(self.x)
        self.texts = [document.text for document in self.corpus.documents()]


@pytest.fixture(scope="module")
def truth(library: Path) -> Truth:
    return Truth(library)


@pytest.fixture(scope="module")
def atom(truth: Truth) -> int:
    """An atom that fires often."""
    return int(np.bincount(truth.codes.atom).argmax())


def fires(truth: Truth, atom: int) -> tuple[np.ndarray, np.ndarray]:
    mine = truth.codes.atom == atom
    return truth.tokens[truth.codes.row[mine]], truth.codes.coefficient[mine]


def test_every_atom_comes_again_from_its_label(truth: Truth) -> None:
    at = {tuple(source): row for row, source in enumerate(truth.sources.tolist())}
    rows = [at[tuple(source)] for source in truth.dictionary.sources.tolist()]
    cosine = torch.nn.functional.cosine_similarity(truth.x[rows], truth.dictionary.atoms)
    assert cosine.min() > 0.999
    assert truth.index.n_atoms == len(truth.dictionary)


def test_no_atom_comes_from_a_held_out_document(truth: Truth) -> None:
    assert (truth.dictionary.sources[:, 0] % 10 != 9).all()
    assert (truth.sources[:, 0] % 10 == 9).any()


def test_the_relative_error_is_that_of_the_held_out_tokens(truth: Truth) -> None:
    decoded = truth.dictionary.decode(truth.codes, len(truth.x))
    errors = (truth.x - decoded).pow(2).sum(1) / truth.x.pow(2).sum(1)
    held_out = torch.from_numpy(truth.sources[:, 0] % 10 == 9)
    assert truth.record.relative_error == pytest.approx(errors[held_out].mean().item(), rel=1e-5)
    assert truth.record.measured_tokens == int(held_out.sum())


def test_the_activations_come_back_as_they_were_encoded(truth: Truth, atom: int) -> None:
    tokens, coefficients = fires(truth, atom)
    frame = truth.index.activations(atom)
    assert len(frame) == len(tokens)
    assert frame["coefficient"].to_numpy() == pytest.approx(np.sort(coefficients)[::-1], rel=1e-5)
    strongest = tokens[coefficients.argmax()]
    document = int(truth.table.document[strongest])
    assert frame["document"].iloc[0] == document
    assert frame["text"].iloc[0].strip() in truth.texts[document]


def test_statistics(truth: Truth, atom: int) -> None:
    _, coefficients = fires(truth, atom)
    record = truth.index.atom(atom)
    assert record.count == len(coefficients)
    assert record.density == pytest.approx(len(coefficients) / len(truth.x))
    assert record.mean == pytest.approx(coefficients.mean(), rel=1e-4)
    assert record.maximum == pytest.approx(coefficients.max())
    assert record.minimum == pytest.approx(coefficients.min())
    assert record.strongest == pytest.approx(np.abs(coefficients).max())
    assert record.admission_error == pytest.approx(truth.dictionary.admission_errors[atom].item())


def test_the_source_is_where_the_text_says(truth: Truth) -> None:
    for atom in range(0, truth.index.n_atoms, 37):
        record = truth.index.atom(atom)
        start, stop = truth.table.start[record.token], truth.table.stop[record.token]
        text = truth.texts[record.document]
        shown = text[truth.table.shown_from[record.token] : stop]
        assert record.label == (shown or text[start:stop])
        assert text[:stop].endswith(record.before + shown)
        assert text[stop:].startswith(record.after)
        assert truth.index.atom_from(record.document, record.position) == atom
    assert truth.index.atom_from(10**6, 0) is None


def test_histogram(truth: Truth, atom: int) -> None:
    _, coefficients = fires(truth, atom)
    frame = truth.index.histogram(atom)
    expected, edges = np.histogram(coefficients, bins=50)
    assert frame["count"].sum() == len(coefficients)
    assert frame["low"].to_numpy() == pytest.approx(edges[:-1], abs=1e-3)
    assert np.abs(np.cumsum(frame["count"]) - np.cumsum(expected)).max() <= 1  # a value on an edge


def test_nearest_atoms(truth: Truth, atom: int) -> None:
    cosine = truth.dictionary.atoms @ truth.dictionary.atoms[atom]
    cosine[atom] = -2
    frame = truth.index.neighbours(atom)
    assert frame["cosine"].to_numpy() == pytest.approx(cosine.topk(10).values.numpy(), abs=1e-5)
    assert frame["atom"].iloc[0] == int(cosine.argmax())


def test_atoms_that_fire_together(truth: Truth, atom: int) -> None:
    sets = [set(fires(truth, other)[0].tolist()) for other in range(truth.index.n_atoms)]
    jaccard = {other: len(sets[atom] & s) / len(sets[atom] | s) for other, s in enumerate(sets) if other != atom and s}
    frame = truth.index.cofiring(atom)
    assert frame["jaccard"].to_numpy() == pytest.approx(sorted(jaccard.values(), reverse=True)[:10], abs=1e-5)
    first = int(frame["atom"].iloc[0])
    together = len(sets[atom] & sets[first])
    assert frame["together"].iloc[0] == together
    assert frame["lift"].iloc[0] == pytest.approx(together * len(truth.x) / len(sets[atom]) / len(sets[first]))


def test_top_and_lowest_examples(truth: Truth, atom: int) -> None:
    tokens, coefficients = fires(truth, atom)
    top, lowest = truth.index.top_examples(atom), truth.index.lowest_examples(atom)
    assert top["token"].iloc[0] == tokens[coefficients.argmax()]
    assert top["coefficient"].is_monotonic_decreasing
    assert lowest["token"].iloc[0] == tokens[coefficients.argmin()]
    assert (top["repeats"] >= 1).all()
    passages = truth.index.contexts(top["token"].tolist(), atom).groupby("centre")["text"].agg("".join)
    assert passages.is_unique


def test_the_source_can_be_left_out_of_where_an_atom_fires(truth: Truth, atom: int) -> None:
    source = truth.index.atom(atom).token
    tokens, coefficients = fires(truth, atom)
    others = coefficients[tokens != source]
    assert len(others) == len(coefficients) - 1
    assert truth.index.strongest(atom, source) == pytest.approx(np.abs(others).max())
    assert source not in truth.index.top_examples(atom, 200, without=source)["token"].tolist()
    left = truth.index.activations(atom, without=source)["coefficient"].to_numpy()
    assert left == pytest.approx(np.sort(others)[::-1], rel=1e-5)


def test_what_reads_as_the_source_stays_where_the_source_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = small_pair.DOCUMENTS
    monkeypatch.setattr(small_pair, "DOCUMENTS", [first, Document("copy", first.text), second])
    codes = np.zeros((9, 1))
    codes[[0, 3, 7], 0] = 3, 2, 1  # the source, the same passage in the second document, another in the third
    index = Index(small_pair.write_index(tmp_path / "copies", small_pair.windows(1, documents=3), [(0, 1)], codes))
    source = index.atom(0).token
    assert index.top_examples(0)[["coefficient", "repeats"]].to_numpy().tolist() == [[3, 2], [1, 1]]
    left = index.top_examples(0, without=source)
    assert left[["coefficient", "repeats"]].to_numpy().tolist() == [[2, 1], [1, 1]]
    assert index.strongest(0, source) == 2
    lone = np.zeros((9, 1))
    lone[0, 0] = 3
    index = Index(small_pair.write_index(tmp_path / "lone", small_pair.windows(1, documents=3), [(0, 1)], lone))
    assert index.strongest(0, index.atom(0).token) is None
    assert index.top_examples(0, without=index.atom(0).token).empty


def test_intervals(truth: Truth, atom: int) -> None:
    _, coefficients = fires(truth, atom)
    frame = truth.index.interval_examples(atom)
    width = (coefficients.max() - coefficients.min()) / 5
    for interval, rows in frame.groupby("interval"):
        assert len(rows) <= 5
        high = coefficients.max() - interval * width
        inside = (coefficients <= high + 1e-4) & (coefficients >= high - width - 1e-4)
        assert rows["share"].iloc[0] == pytest.approx(inside.mean(), abs=2 / len(coefficients))
        assert rows["coefficient"].between(high - width - 1e-3, high + 1e-3).all()
    assert frame.groupby("interval")["share"].first().sum() == pytest.approx(1)


def test_tokens_by_share(truth: Truth, atom: int) -> None:
    tokens, coefficients = fires(truth, atom)
    frame = truth.index.token_shares(atom, 1000)
    kinds = truth.table.token_id[tokens]
    assert len(frame) == len(set(kinds.tolist()))
    assert frame["share"].sum() == pytest.approx(1)
    weights = [np.abs(coefficients[kinds == kind]).sum() for kind in set(kinds.tolist())]
    assert frame["weight_share"].iloc[0] == pytest.approx(max(weights) / sum(weights), rel=1e-4)
    assert (frame["fires_on"] <= 1).all()


def test_how_well_the_label_predicts(truth: Truth, atom: int) -> None:
    source = truth.index.atom(atom).token
    token_id, document = truth.table.token_id, truth.table.document
    previous = np.where(np.diff(document, prepend=-1) == 0, np.roll(token_id, 1), -1)
    tokens, coefficients = fires(truth, atom)
    weights = dict(zip(tokens.tolist(), np.abs(coefficients).tolist(), strict=True))
    half = max(weights.values()) / 2
    weights.pop(source, None)
    rows = {"token": [0, 0, 0, 0.0], "previous": [0, 0, 0, 0.0], "both": [0, 0, 0, 0.0]}
    for token in truth.tokens.tolist():
        if token == source:
            continue
        same, after_same = token_id[token] == token_id[source], previous[token] == previous[source]
        for rule, holds in (("token", same), ("previous", after_same), ("both", same and after_same)):
            rows[rule][0] += bool(holds)
            rows[rule][1] += bool(holds and token in weights)
            rows[rule][2] += bool(holds and weights.get(token, 0) >= half)
            rows[rule][3] += weights.get(token, 0) if holds else 0
    frame = truth.index.label_prediction(atom).set_index("rule")
    strong = sum(weight >= half for weight in weights.values())
    for rule, (n, fired, fired_strongly, weight) in rows.items():
        assert tuple(frame.loc[rule, ["tokens", "fires", "strong"]]) == (n, fired, fired_strongly)
        assert tuple(frame.loc[rule, ["all_fires", "all_strong"]]) == (len(weights), strong)
        if n:
            assert frame.loc[rule, "recall"] == pytest.approx(fired / n)
        assert frame.loc[rule, "precision"] == pytest.approx(fired / len(weights))
        assert frame.loc[rule, "weight_precision"] == pytest.approx(weight / sum(weights.values()), rel=1e-4)
        if strong:
            assert frame.loc[rule, "strong_precision"] == pytest.approx(fired_strongly / strong)
    assert frame["chance"].to_numpy() == pytest.approx(np.full(3, len(weights) / (len(truth.x) - 1)))


def test_contexts_stay_in_their_document(truth: Truth, atom: int) -> None:
    edges = [0, len(truth.table.token) - 1, int(np.flatnonzero(np.diff(truth.table.document))[3])]
    frame = truth.index.contexts(edges, atom)
    for centre, rows in frame.groupby("centre"):
        assert set(rows["document"]) == {truth.table.document[centre]}
        assert rows["token"].is_monotonic_increasing
        assert rows.loc[rows["is_centre"], "token"].tolist() == [centre]
        assert "".join(rows["text"]) in truth.texts[rows["document"].iloc[0]]


def test_a_whole_document_reads_as_its_text(truth: Truth, atom: int) -> None:
    for document in sorted(set(truth.sources[:, 0].tolist()))[::9]:
        frame = truth.index.document(document, atom)
        assert "".join(frame["text"]) == truth.texts[document]
    with pytest.raises(UserError, match="no document"):
        truth.index.document(10**6, atom)


@pytest.mark.parametrize("sort", SORTS)
def test_sorting_and_paging(truth: Truth, sort: str) -> None:
    whole = truth.index.page(AtomFilter(), sort, True, 0, 10_000)
    paged = [truth.index.page(AtomFilter(), sort, True, offset, 50)["atom"] for offset in range(0, len(whole), 50)]
    assert np.concatenate(paged).tolist() == whole["atom"].tolist()
    if SORTS[sort] in whole:  # test_search.py has the others
        assert whole[SORTS[sort]].dropna().is_monotonic_decreasing


def test_filters(truth: Truth) -> None:
    everything = truth.index.page(AtomFilter(), limit=10_000)
    passage = (everything["before"] + everything["label"] + everything["after"]).str.lower()
    cases = {
        AtomFilter("THE"): passage.str.contains("the", regex=False),
        AtomFilter("the", "token"): everything["label"].str.lower().str.contains("the", regex=False),
        AtomFilter(density=(0.01, 0.02)): everything["density"].between(0.01, 0.02),
        AtomFilter(strongest=(5, 20)): everything["strongest"].between(5, 20),
        AtomFilter(error=(0.3, 0.4)): everything["admission_error"].between(0.3, 0.4),
        AtomFilter(atoms=(3, 5, 10**6)): everything["atom"].isin([3, 5]),
        AtomFilter(first=7): everything["atom"] < 7,
        AtomFilter("the", first=40): passage.str.contains("the", regex=False) & (everything["atom"] < 40),
        AtomFilter("model the"): passage.str.contains("model", regex=False) & passage.str.contains("the", regex=False),
        AtomFilter('"the model"'): passage.str.contains("the model", regex=False),
        AtomFilter('"%\' OR 1=1 --"'): passage.str.contains("%' or 1=1 --", regex=False),
    }
    for where, expected in cases.items():
        assert truth.index.page(where, limit=10_000)["atom"].tolist() == everything["atom"][expected].tolist()
        assert truth.index.count(where) == expected.sum()
        assert truth.index.matching(where)["atom"].tolist() == everything["atom"][expected].tolist()


def test_the_search_over_contexts_finds_where_an_atom_fires(truth: Truth, atom: int) -> None:
    token = int(truth.index.top_examples(atom, 1)["token"].iloc[0])
    passage = "".join(truth.index.contexts([token], atom)["text"])
    assert atom in truth.index.matching(AtomFilter(passage, "context"))["atom"].tolist()


def test_bad_questions_are_refused(truth: Truth) -> None:
    with pytest.raises(UserError, match="atoms 0 to"):
        truth.index.atom(truth.index.n_atoms)
    with pytest.raises(UserError, match="no sort"):
        truth.index.page(AtomFilter(), "atom; DROP TABLE atoms")
    with pytest.raises(UserError, match="no search"):
        AtomFilter("x", "everywhere")


def test_the_index_cannot_be_written_nor_reach_outside(truth: Truth, tmp_path: Path) -> None:
    for statement in (
        "DELETE FROM atoms",
        f"COPY atoms TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.duckdb'}'",
        "SET enable_external_access = true",
        "SELECT * FROM read_text('/etc/hostname')",
    ):
        with pytest.raises(Exception, match=r"(?i)read-only|disabled|locked|permission|cannot"):
            truth.index._frame(statement)
    assert list(tmp_path.iterdir()) == []


def test_concurrent_readers(truth: Truth, atom: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = truth.index.top_examples(atom)
    with ThreadPoolExecutor(8) as pool:
        for frame in pool.map(lambda _: truth.index.top_examples(atom), range(200)):
            assert frame.equals(expected)


@pytest.mark.parametrize("content", [None, b"", b"not a database", "half"])
def test_a_damaged_index_says_so(truth: Truth, tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "some-id" / "index.duckdb"
    path.parent.mkdir()
    if content == "half":
        whole = truth.library.index_path(truth.record.id).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(DamagedError, match="some-id"):
        Index(path)


def test_the_manifest_names_every_file_by_its_hash(truth: Truth) -> None:
    manifest = read_json(truth.library.folder(truth.record.id) / "manifest.json")
    assert set(manifest["files"]) == {"atoms.safetensors", "index.duckdb"}
    assert list(truth.library.verify(truth.record.id)) == []
