"""Texts decomposed with a dictionary: what each token is made of, whatever the text; and two side by side."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from itda_core import Dictionary, Library, UserError
from itda_core.capture.local import Capture
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document
from itda_core.corpus.windows import make_windows, shown_from
from itda_core.decompose.decomposer import MOST_TOKENS, Decomposer
from itda_core.decompose.passages import (
    MOST_CHARACTERS,
    Decomposition,
    PassageToken,
    Segment,
    Terms,
    align,
    atoms_in,
    sights,
)
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.locate import MODELS_VARIABLE, open_model
from tests.support.builder import LibraryBuilder
from tests.support.places import MODEL_A, MODEL_B

TEXTS = {
    "english": "The list comprehension returns a new list; see the section on generator expressions.",
    "code": "def f(x):\n\treturn [y ** 2 for y in x if y]  # <b>\n\n\nclass A:\n    pass\n",
    "emoji": "a 👩‍👩‍👧‍👦 family, 🏳️‍🌈 and 🇩🇪",
    "chinese": "迭代器是一个对象。",
    "right to left": "قائمة من الكلمات שלום",
    "combining": "e\u0301 and é, Z̷̢͝a̸l̶g̵o",
    "controls": "\x00\x01 zero\u200bwidth \u202e turned \ufeff",
    "spaces": "  two before,   many between and after   ",
    "markup": "<img src=x onerror=alert(1)> & <script>",
}


@pytest.fixture(scope="module")
def records(library: Path) -> list[DictionaryManifest]:
    return [record for record in Library(library).records() if isinstance(record, DictionaryManifest)]


def decomposer_of(library: Path, record: DictionaryManifest) -> Decomposer:
    folder = Library(library).folder(record.id)
    return Decomposer(record, open_model(record, library), Dictionary.load(folder))


@pytest.fixture(scope="module")
def record(records: list[DictionaryManifest]) -> DictionaryManifest:
    return next(each for each in records if each.model == "docs-a" and each.site.layer == 3)


@pytest.fixture(scope="module")
def decomposer(library: Path, record: DictionaryManifest) -> Decomposer:
    return decomposer_of(library, record)


@pytest.fixture(scope="module")
def other(library: Path, records: list[DictionaryManifest]) -> Decomposer:
    return decomposer_of(library, next(each for each in records if each.model == "docs-b"))


def captured(library: Path, record: DictionaryManifest, text: str, windows: str = "first") -> torch.Tensor:
    """What capture gives for a document of this text, by itself."""
    model = open_model(record, library)
    settings = WindowSettings(record.cut.context, windows, record.cut.keep_first)
    batches = Capture(
        model, [record.site], lambda: make_windows([Document("", text)], model.tokenizer, settings, 10**6)
    )
    return torch.cat([batch.activations[record.site] for batch in batches])


@pytest.mark.parametrize("name", TEXTS)
def test_the_codes_are_those_of_capture_and_encode(
    library: Path, record: DictionaryManifest, decomposer: Decomposer, name: str
) -> None:
    text = TEXTS[name]
    found = decomposer.decompose(text)
    x = captured(library, record, text)
    dictionary = Dictionary.load(Library(library).folder(record.id))
    codes = dictionary.encode(x)
    assert len(found.norm) == len(x) == len(found.tokens) - 1  # the first is skipped
    assert found.tokens[0].row is None
    for at, token in enumerate(found.tokens[1:], 1):
        own = codes.row == token.row
        expected = dict(zip(codes.atom[own].tolist(), codes.coefficient[own].tolist(), strict=True))
        terms = found.terms_of(at)
        assert dict(zip(terms.atom.tolist(), terms.coefficient.tolist(), strict=True)) == expected
        assert (np.diff(np.abs(terms.coefficient)) <= 0).all()


@pytest.mark.parametrize("name", TEXTS)
def test_what_the_terms_leave_is_the_error(
    library: Path, record: DictionaryManifest, decomposer: Decomposer, name: str
) -> None:
    found = decomposer.decompose(TEXTS[name])
    atoms = Dictionary.load(Library(library).folder(record.id)).atoms.numpy().astype(np.float64)
    for at, x in enumerate(captured(library, record, TEXTS[name]).numpy().astype(np.float64), 1):
        terms = found.terms_of(at)
        row = found.tokens[at].row
        residual = x - (terms.coefficient[:, None] * atoms[terms.atom]).sum(0)
        assert found.norm[row] == pytest.approx(np.linalg.norm(x), rel=1e-6)
        assert found.error[row] == pytest.approx((residual @ residual) / (x @ x), rel=1e-4, abs=1e-9)
        assert terms.left[-1] == pytest.approx(found.error[row], abs=1e-6)
        first = x - terms.coefficient[0] * atoms[terms.atom[0]]
        assert terms.left[0] == pytest.approx((first @ first) / (x @ x), abs=1e-6)


def test_the_mean_is_a_term_of_its_own(record: DictionaryManifest, library: Path) -> None:
    plain = Dictionary.load(Library(library).folder(record.id))
    settings = replace(plain.settings, center="mean")
    x = captured(library, record, TEXTS["english"])
    dictionary = Dictionary(plain.atoms, plain.sources, settings, mean=x.mean(0))
    found = Decomposer(record, open_model(record, library), dictionary).decompose(TEXTS["english"])
    assert found.mean == pytest.approx(float(x.mean(0).norm()))
    atoms = dictionary.atoms.numpy().astype(np.float64)
    for row, vector in enumerate(x.numpy().astype(np.float64)):
        terms = found.terms_of(row + 1)
        rest = vector - dictionary.mean.numpy()
        assert found.left_by_mean[row] == pytest.approx((rest @ rest) / (vector @ vector), rel=1e-4)
        rest -= terms.coefficient @ atoms[terms.atom]
        assert terms.left[-1] == pytest.approx((rest @ rest) / (vector @ vector), abs=1e-6)
        assert terms.left[-1] == pytest.approx(found.error[row], abs=1e-6)
    uncentred = decomposer_of(library, record).decompose(TEXTS["english"])
    assert uncentred.mean is None and (uncentred.left_by_mean == 1).all()


@pytest.mark.parametrize("name", TEXTS)
def test_the_tokens_read_as_the_text(decomposer: Decomposer, name: str) -> None:
    found = decomposer.decompose(TEXTS[name])
    assert "".join(map(found.shown, range(len(found.tokens)))) == TEXTS[name]
    assert all(found.label(at) for at in range(len(found.tokens)))


def test_a_part_of_a_character_is_known_as_such(decomposer: Decomposer) -> None:
    found = decomposer.decompose("a 迭")
    pieces = [at for at in range(len(found.tokens)) if found.part(at)[1] > 1]
    assert [found.part(at) for at in pieces] == [(1, 3), (2, 3), (3, 3)]
    assert [found.shown(at) for at in pieces] == ["迭", "", ""]
    assert {found.label(at) for at in pieces} == {"迭"}


def test_a_single_token_is_shown_and_not_decomposed(decomposer: Decomposer) -> None:
    found = decomposer.decompose("a")
    assert [token.row for token in found.tokens] == [None]
    assert (len(found.norm), len(found.terms.atom)) == (0, 0)
    with pytest.raises(ValueError, match="not captured"):
        found.terms_of(0)


def test_a_long_text_is_read_window_by_window(
    library: Path, record: DictionaryManifest, decomposer: Decomposer, language_reference: list[Document]
) -> None:
    text = max((document.text for document in language_reference), key=len)[:3000]
    found = decomposer.decompose(text)
    assert found.windows > 2
    skipped = [at for at, token in enumerate(found.tokens) if token.row is None]
    assert skipped == list(range(0, len(found.tokens), record.cut.context))
    assert found.read == len(text)
    x = captured(library, record, text, "all")
    assert np.allclose(found.norm, x.norm(dim=1).numpy(), rtol=1e-6)


def test_beyond_the_most_tokens_a_text_is_not_read(decomposer: Decomposer) -> None:
    text = "a b " * MOST_TOKENS
    found = decomposer.decompose(text)
    assert len(found.tokens) == MOST_TOKENS
    assert text.startswith("".join(map(found.shown, range(len(found.tokens)))))
    assert found.read < len(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no text"),
        (" \n\t ", "no text"),
        ("a" * (MOST_CHARACTERS + 1), "give 100,000 at most"),
        ("a \ud800 b", "half a character"),
    ],
)
def test_what_cannot_be_decomposed_is_refused_in_one_line(decomposer: Decomposer, text: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        decomposer.decompose(text)


# The model


def copied_model(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("checkpoints"))
    return folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, build_library: LibraryBuilder) -> tuple[Path, Path]:
    """A library of a model that does not come with the project, and that model's folder, which is not named to us."""
    root = tmp_path_factory.mktemp("elsewhere")
    folder = copied_model(MODEL_A, root / "models" / "own-model")
    library = build_library(root / "library", [Document("", TEXTS["english"] * 3)], model=folder, tokens=800)
    return library, folder


def only_record(root: Path) -> DictionaryManifest:
    (record,) = Library(root).records()
    assert isinstance(record, DictionaryManifest)
    return record


def test_a_folder_is_found_where_it_is_said_to_lie(
    elsewhere: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library, folder = elsewhere
    with pytest.raises(UserError, match="own-model is not known here: set ITDA_MODELS"):
        open_model(only_record(library), library)
    monkeypatch.setenv(MODELS_VARIABLE, f"{tmp_path}:{folder.parent}")
    assert open_model(only_record(library), library).name == "own-model"


def test_a_folder_is_found_by_the_job_that_built_from_it(elsewhere: tuple[Path, Path], tmp_path: Path) -> None:
    library, folder = elsewhere
    root = Path(shutil.copytree(library, tmp_path / "library"))
    (root / "jobs" / "one").mkdir(parents=True)
    (root / "jobs" / "one" / "command.json").write_text(json.dumps(["build", str(folder), "--layers=3"]))
    assert open_model(only_record(root), root).name == "own-model"


def test_other_weights_are_refused(
    elsewhere: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library, _ = elsewhere
    copied_model(MODEL_B, tmp_path / "own-model")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="own-model on this machine are not those") as refused:
        open_model(only_record(library), library)
    assert "\n" not in str(refused.value)


def changed(library: Path, tmp_path: Path, **said: object) -> tuple[DictionaryManifest, Path]:
    """A dictionary whose manifest says something else."""
    root = Path(shutil.copytree(library, tmp_path / "changed"))
    dictionary_id = Library(root).ids()[0]
    path = root / "dictionaries" / dictionary_id / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))
    return Library(root).record(dictionary_id), root


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"weights_sha256": None, "dtype": "remote"}, "ran on a server"),
        ({"model": "nobody/nothing", "revision": "0" * 40}, "hf download nobody/nothing --revision 0000"),
        ({"model": "../../docs-a"}, "no name of a folder"),
        ({"model": ".."}, "no name of a folder"),
    ],
)
def test_a_model_that_is_not_here_is_one_line(library: Path, tmp_path: Path, said: dict, line: str) -> None:
    record, root = changed(library, tmp_path, **said)
    with pytest.raises(UserError, match=line):
        open_model(record, root)


def test_another_tokenizer_is_refused(library: Path, tmp_path: Path) -> None:
    record, root = changed(library, tmp_path, tokenizer_sha256="0" * 64)
    with pytest.raises(UserError, match="the tokenizer of docs-a here"):
        Decomposer(record, open_model(record, root), Dictionary.load(Library(root).folder(record.id)))


# Two side by side


def decomposition(text: str, spans: list[tuple[int, int]], terms: list[dict[int, float]]) -> Decomposition:
    """A hand-made one: every token is captured, has the length 2, and the terms given."""
    shown = shown_from([stop for _, stop in spans]).tolist()
    tokens = [PassageToken(0, *span, shown[at], at) for at, span in enumerate(spans)]
    atoms = [atom for token in terms for atom in token]
    coefficients = [value for token in terms for value in token.values()]
    return Decomposition(
        text,
        tuple(tokens),
        1,
        np.cumsum([0, *map(len, terms)]),
        Terms(np.array(atoms, np.int64), np.array(coefficients, np.float32), np.zeros(len(atoms))),
        np.full(len(tokens), 2, np.float32),
        np.zeros(len(tokens), np.float32),
        None,
        np.ones(len(tokens), np.float32),
    )


def test_segments_end_where_both_have_an_end_of_a_token() -> None:
    a = decomposition("unhappy 日!", [(0, 2), (2, 7), (7, 9), (8, 9), (9, 10)], [{}] * 5)
    b = decomposition("unhappy 日!", [(0, 5), (5, 7), (8, 9), (9, 10)], [{}] * 4)
    assert align(a, b) == [
        Segment(0, 7, range(0, 2), range(0, 2)),
        Segment(7, 9, range(2, 4), range(2, 3)),  # both bytes of a character that B has whole
        Segment(9, 10, range(4, 5), range(3, 4)),
    ]


def test_what_only_one_of_them_read_has_segments_of_its_own() -> None:
    a = decomposition("abcdef", [(0, 2), (2, 3)], [{}] * 2)
    b = decomposition("abcdef", [(0, 2), (2, 4), (4, 5), (5, 6)], [{}] * 4)
    expected = [
        Segment(0, 2, range(0, 1), range(0, 1)),
        Segment(2, 4, range(1, 2), range(1, 2)),
        Segment(4, 5, range(2, 2), range(2, 3)),
        Segment(5, 6, range(2, 2), range(3, 4)),
    ]
    assert align(a, b) == expected
    assert align(b, a) == [Segment(start, stop, b, a) for start, stop, a, b in expected]


def test_different_texts_are_not_aligned() -> None:
    with pytest.raises(ValueError, match="different texts"):
        align(decomposition("a", [(0, 1)], [{}]), decomposition("b", [(0, 1)], [{}]))


def test_sources_are_held_against_each_other() -> None:
    a = decomposition("ab", [(0, 1), (1, 2)], [{5: 1.0, 6: -0.5}, {5: -1.8}])
    b = decomposition("ab", [(0, 2)], [{9: 0.4, 8: 1.0}])
    (segment,) = align(a, b)
    assert atoms_in(a, segment.a) == [5, 6]
    found = sights(segment, a, b, {5: (0, 1), 6: (0, 2)}, {9: (0, 1), 8: (3, 3)})
    assert [sight.source for sight in found] == [(0, 1), (3, 3), (0, 2)]
    shared, only_b, only_a = found
    assert (shared.atom_a, shared.atom_b) == (5, 9)
    assert (shared.weight_a, shared.weight_b) == pytest.approx((-0.9, 0.2))  # the strongest over its tokens
    assert (only_b.atom_a, only_b.weight_a, only_b.atom_b, only_b.weight_b) == (None, 0.0, 8, 0.5)
    assert (only_a.atom_a, only_a.weight_a, only_a.atom_b) == (6, -0.25, None)


@pytest.mark.parametrize("name", TEXTS)
def test_two_models_with_one_tokenizer_align_token_by_token(
    decomposer: Decomposer, other: Decomposer, name: str
) -> None:
    a, b = decomposer.decompose(TEXTS[name]), other.decompose(TEXTS[name])
    segments = align(a, b)
    assert "".join(a.text[segment.start : segment.stop] for segment in segments) == a.text
    assert [at for segment in segments for at in segment.a] == list(range(len(a.tokens)))
    assert all(segment.a == segment.b for segment in segments)
    assert all(a.part(at)[1] == len(segment.a) for segment in segments for at in segment.a)


def test_tokenisations_that_differ_align_without_gaps(decomposer: Decomposer) -> None:
    text = TEXTS["english"]
    a = decomposer.decompose(text)
    words = Tokenizer(models.WordLevel({"[U]": 0}, unk_token="[U]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    spans = words.encode(text).offsets
    b = decomposition(text, spans, [{}] * len(spans))
    segments = align(a, b)
    assert [at for segment in segments for at in segment.a] == list(range(len(a.tokens)))
    assert [at for segment in segments for at in segment.b] == list(range(len(b.tokens)))
    assert [segment.start for segment in segments] == [0, *(segment.stop for segment in segments[:-1])]
    assert all(segment.a and segment.b for segment in segments)
