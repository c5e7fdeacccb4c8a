import tracemalloc

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from itda_core.common.errors import UserError
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document
from itda_core.corpus.token_table import TokenTable, check_held_out
from itda_core.corpus.windows import Window, check_documents, make_windows


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
        make_windows(
            [Document(str(i), text) for i, text in enumerate(texts)], tokenizer, WindowSettings(**settings), tokens
        )
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


@pytest.mark.parametrize(
    ("documents", "limit", "told"),
    [
        (1, None, "the corpus has a single document, so that none is held out, which every tenth is: name a longer"),
        (9, 100, "only 9 documents, so that none is held out, which every tenth is: name a longer text, or give"),
        (9, 9, "raise --documents, or give --no-holdout"),
    ],
)
def test_a_corpus_of_fewer_than_ten_documents_has_none_to_hold_out(documents, limit, told) -> None:
    with pytest.raises(UserError, match=told):
        check_documents(documents, limit)
    check_documents(10, 10)


@pytest.mark.parametrize(
    ("texts", "tokens", "told"),
    [
        (["a b c"] * 10, 18, "18 tokens reach no held-out document, which every tenth is: raise --tokens"),
        (["a b c"] * 9 + ["", "a b c"], 1000, "no held-out document .* has a token to capture: name a longer text"),
        (["a b c"] * 10, 19, None),
    ],
)
def test_whether_held_out_tokens_are_read(tokenizer: Tokenizer, texts, tokens, told) -> None:
    found = windows(tokenizer, texts, tokens)
    check_held_out(TokenTable.of(found, holdout=False), tokens)
    if told is None:
        check_held_out(TokenTable.of(found, holdout=True), tokens)
    else:
        with pytest.raises(UserError, match=told):
            check_held_out(TokenTable.of(found, holdout=True), tokens)


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
    rows = table.rows()
    assert rows.token.tolist() == [0, 1, 2, 3]
    assert rows.document.tolist() == [0, 0, 2, 2]
    assert rows.position.tolist() == [0, 1, 0, 1]
    assert (rows.start.tolist(), rows.stop.tolist()) == ([0, 2, 0, 3], [1, 3, 1, 4])
    assert rows.token_id.tolist() == [3, 4, 5, 6]
    assert table.n_captured == 2
    assert table.document.tolist() == [0, 2]
    assert [table.first_of(document) for document in range(4)] == [0, 2, 2, 4]
    assert table.ordinal(rows.document, rows.position).tolist() == [0, 1, 2, 3]
    # Shown from where the one before ended: gaps belong to the token after them.
    assert rows.shown_from.tolist() == [0, 1, 0, 1]
    for document, position in ((0, 2), (0, 7), (1, 0), (2, 2), (3, 0), (0, -1), (-1, 0)):
        with pytest.raises(KeyError):
            table.ordinal(np.array([0, document]), np.array([0, position]))
    assert [table.held_out(document) for document in (8, 9, 10, 19)] == [False, True, False, True]
    assert not TokenTable.of(windows(tokenizer, ["a b"]), holdout=False).held_out(9)


def test_tokens_of_a_document_in_several_windows(tokenizer: Tokenizer) -> None:
    texts = ["a  b c d   e f g", "h i", "a b c d e f"]
    table = TokenTable.of(windows(tokenizer, texts, context=3, windows="all", keep_first=True), holdout=True)
    rows = table.rows()
    assert rows.position.tolist() == [*range(7), *range(2), *range(6)]
    shown = [texts[d][a:b] for d, a, b in zip(rows.document, rows.shown_from, rows.stop, strict=True)]
    assert "".join(shown) == "".join(texts)
    assert table.ordinal(rows.document, rows.position).tolist() == list(range(15))
    for first in range(16):
        for stop in range(first, 18):
            for part, whole in zip(table.rows(first, stop), rows, strict=True):
                assert part.tolist() == whole[first:stop].tolist()


def test_a_token_is_shown_from_where_those_before_it_ended() -> None:
    spans = [(0, 2), (2, 3), (2, 3), (1, 2), (5, 6)]  # the bytes of one character share its span, one span goes back
    table = TokenTable.of([Window(4, [], [1] * 5, [], 0, spans, range(5))], holdout=True)
    assert table.rows().shown_from.tolist() == [0, 2, 3, 3, 3]


def test_the_memory_of_a_table_hardly_grows_with_its_tokens() -> None:
    window = Window(0, [], list(range(128)), [], 0, [(at, at + 1) for at in range(128)], range(1, 128))
    tracemalloc.start()
    try:
        table = TokenTable.of((window._replace(document=at) for at in range(3000)), holdout=True)
        ordinals = table.ordinal(np.arange(1000, 1100), np.full(100, 127))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ordinals.tolist() == [document * 128 + 127 for document in range(1000, 1100)]
    assert peak < len(table)  # a byte a token; the columns would take twenty
