import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from itda_core.config import CutSettings
from itda_core.types import Document
from itda_core.windows import TokenTable, cut


@pytest.fixture
def tokenizer() -> Tokenizer:
    """A word tokenizer that closes a text with special tokens on both sides."""
    words = {word: at for at, word in enumerate(["[S]", "[E]", "[U]", *"abcdefghij"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[U]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[S]", "[E]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[S] $A [E]", special_tokens=[("[S]", 0), ("[E]", 1)]
    )
    return tokenizer


def windows(tokenizer: Tokenizer, texts: list[str], tokens: int = 1000, **settings):
    return list(
        cut([Document(str(i), text) for i, text in enumerate(texts)], tokenizer, CutSettings(**settings), tokens)
    )


def test_special_tokens_are_fed_and_positions_count_own_tokens(tokenizer: Tokenizer) -> None:
    (window,) = windows(tokenizer, ["a b  c"], context=5)
    assert (window.prefix, window.tokens, window.suffix) == ([0], [3, 4, 5], [1])
    assert window.spans == [(0, 1), (2, 3), (5, 6)]
    assert list(window.captured) == [1, 2]


def test_the_first_token_is_captured_on_request(tokenizer: Tokenizer) -> None:
    (window,) = windows(tokenizer, ["a b c"], keep_first=True)
    assert list(window.captured) == [0, 1, 2]


def test_one_window_a_document_or_all(tokenizer: Tokenizer) -> None:
    text = "a b c d e f g"
    first = windows(tokenizer, [text], context=3)
    assert [w.tokens for w in first] == [[3, 4, 5]]
    every = windows(tokenizer, [text], context=3, windows="all")
    assert [(w.position, w.tokens) for w in every] == [(0, [3, 4, 5]), (3, [6, 7, 8]), (6, [9])][:2]
    kept = windows(tokenizer, [text], context=3, windows="all", keep_first=True)
    assert [w.position for w in kept] == [0, 3, 6]


def test_empty_documents_keep_their_ordinal(tokenizer: Tokenizer) -> None:
    assert [w.document for w in windows(tokenizer, ["", "a b", " ", "c d"])] == [1, 3]


def test_capture_stops_at_the_number_of_tokens(tokenizer: Tokenizer) -> None:
    found = windows(tokenizer, ["a b c", "d e f", "g h i"], tokens=3)
    assert [(w.document, list(w.captured)) for w in found] == [(0, [1, 2]), (1, [1])]


def test_many_documents_keep_their_order(tokenizer: Tokenizer) -> None:
    found = windows(tokenizer, ["a b"] * 600)
    assert [w.document for w in found] == list(range(600))


def test_a_long_document_has_the_same_window_as_its_beginning(tokenizer: Tokenizer) -> None:
    words = "a b c d e f g h i j " * 5000
    spread = " ".join("abcdefghij"[i % 10] + " " * 200 for i in range(300))  # few tokens for its characters
    for text in (words, spread):
        (long,) = windows(tokenizer, [text], context=64)
        (whole,) = windows(tokenizer, [text[: len(text) // 2]], context=64)
        assert (long.tokens, long.spans) == (whole.tokens, whole.spans)
        assert len(long.tokens) == 64


def test_token_table(tokenizer: Tokenizer) -> None:
    table = TokenTable.of(windows(tokenizer, ["a b", "", "c  d"]), holdout=True)
    assert table.document.tolist() == [0, 0, 2, 2]
    assert table.position.tolist() == [0, 1, 0, 1]
    assert table.n_captured == 2
    assert table.ordinal(table.document, table.position).tolist() == [0, 1, 2, 3]
    # Shown from where the one before ended: gaps belong to the token after them.
    assert table.shown_from.tolist() == [0, 1, 0, 1]
    with pytest.raises(KeyError):
        table.ordinal(table.document[:1], table.position[:1] + 7)
    assert [table.held_out(document) for document in (8, 9, 10, 19)] == [False, True, False, True]
    assert not TokenTable.of(windows(tokenizer, ["a b"]), holdout=False).held_out(9)
