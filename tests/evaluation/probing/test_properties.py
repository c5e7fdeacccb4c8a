"""What is read of tokens from the text: worked by hand on texts that are short enough to see."""

import re
import time

import numpy as np
import pytest

from itda_core.common.types import Document
from itda_core.evaluation.probing import properties
from itda_core.evaluation.probing.properties import character_marks, token_labels
from itda_core.reports.properties import PROPERTIES, package_of, property_of


def marked(text: str, name: str) -> list[str]:
    """The runs of characters that have a property."""
    has = character_marks(text)[name]
    return re.findall(r"[^\0]+", "".join(c if m else "\0" for c, m in zip(text, has, strict=True)))


def words(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+|\s+", text)]


SESSION = """Return the value.

>>> f(1)
1
... and on

The end is prose."""


def test_an_interpreter_session_is_code_until_a_blank_line() -> None:
    assert marked(SESSION, "code") == [">>> f(1)", "1", "... and on"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Use it so::\n\n    x = 1\n\n    y = 2\n\nDone.", ["    x = 1", "    y = 2"]),
        ("Use it so:\n\n    x = 1\nDone.", ["    x = 1"]),
        ("Two ways:\n\n    * the first\n    * the second", []),  # a list, not code
        ("Args:\n    x: what it is", []),  # not set off by a blank line
        (".. code-block:: python\n\n    x = 1", ["    x = 1"]),
        (".. note::\n\n    Take care.", []),
        ("Before\n```python\nx = 1\n```\nafter", ["x = 1"]),
        ("Of ``x`` and `y` and :math:`z`.", ["x", "y"]),
        ("One ` alone.\n\nAnother ` alone.", []),
        ("In [1]: x\nOut[1]: 2", ["In [1]: x", "Out[1]: 2"]),
    ],
)
def test_code(text: str, code: list[str]) -> None:
    assert marked(text, "code") == code


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("- one\n- two\nNo more.", ["one", "two"]),
        ("* one\n  goes on\n\n  and on\n\nNo more.", ["one", "  goes on", "  and on"]),
        ("1. one\n(2) two\n#. three\na) four", ["one", "two", "three", "four"]),
        ("Title\n-----\nText - with a dash.", []),
        ("*args is no item.", []),
        (">>> f()\n- 1", []),
    ],
)
def test_lists(text: str, items: list[str]) -> None:
    assert marked(text, "list") == items


def test_numbers_are_none_of_the_digits_in_names() -> None:
    text = "float64 has 64 bits, 1,000.5 or 1e-5 or 0xFF or 3j, x2 and 2d have none; v1.2 neither, [0] does."
    assert marked(text, "number") == ["64", "1,000.5", "1e-5", "0xFF", "3j", "2", "0"]


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("It is. And so on, e.g. Paris. *Why* not? (Yes.)", ["I", "A", "W", "Y"]),
        ("No start after 1.5 or x. no capital", ["N"]),
        ("Parameters\n----------\nx : int\n    The value,\n    None if unknown", ["T"]),
        ("Args:\n    Nothing\n", ["N"]),
        ("See Also\n--------\nSeries.first : The first.", []),
        ("- One.\n- two.", ["O"]),
        ("Text::\n\n    Code = 1. Code", ["T"]),
        ("the first is small. DataFrame is a name.", []),
    ],
)
def test_sentences(text: str, starts: list[str]) -> None:
    assert [each for run in marked(text, "sentence") for each in run] == starts


def test_a_token_is_where_its_first_visible_character_is() -> None:
    text = "You run it:\n\n    x = 12\n"
    spans = words(text)
    found = token_labels(text, spans)
    assert found.keys() == {"blank", *PROPERTIES}
    told = {text[a:b]: {name for name in found if found[name][at]} for at, (a, b) in enumerate(spans)}
    assert told["You"] == {"sentence"}
    assert told["\n\n    "] == {"blank"}
    assert told["12"] == {"code", "number"}
    assert told["\n"] == {"blank"}
    # A token that begins with the space before it is where its text is.
    assert token_labels(text, [(11, 18), (19, 22)])["code"].tolist() == [True, True]


def test_tokens_of_nothing_have_no_label() -> None:
    found = token_labels("ab", [(0, 0), (2, 2), (0, 2)])
    assert found["blank"].tolist() == [True, True, False]
    assert all(len(each) == 0 and each.dtype == bool for each in token_labels("", []).values())


def test_what_follows_the_last_token_s_paragraph_is_not_read_and_changes_nothing(
    language_reference: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(properties, "character_marks", lambda text: read.append(len(text)) or character_marks(text))
    made = [SESSION * 2, "Text::\n\n\n    Code = 1. Code\n  \n\nTitle\n=====\n\nMore `of\n\nit`.\n\n"]
    for text in [*made, *(document.text for document in language_reference[:20])]:
        spans = words(text)
        whole = token_labels(text, spans)
        for n in {0, 1, 2, 5, len(spans) // 3, len(spans) // 2, len(spans) - 1}:
            part = token_labels(text, spans[:n])
            assert all(np.array_equal(part[name], whole[name][:n]) for name in whole), (text[:40], n)
    read.clear()
    token_labels("One `a b` two.\nAnd so.\n \nNever read.", [(0, 3), (4, 5)])
    assert read == [len("One `a b` two.\nAnd so.")]


def test_a_long_paragraph_takes_no_longer_than_many_short_ones() -> None:
    short = "It is so. And again, cf. Paris. " * 4
    times = {}
    for gap in ("\n", "\n\n"):
        start = time.process_time()
        found = character_marks((short + gap) * 700)["sentence"].sum()
        times[gap] = time.process_time() - start
        assert found == 2 * 4 * 700
    assert times["\n"] < 4 * times["\n\n"] + 0.2


@pytest.mark.parametrize(
    "text", ["", "\n", "\n\n\n", "`", "``", "```", "- ", ":", "::", ">>>", ".. x::", "１２ Ä. Ö é", "a\r\nb"]
)
def test_any_text_is_read(text: str) -> None:
    for has in character_marks(text).values():
        assert has.shape == (len(text),)
        assert has.dtype == np.bool_


def test_the_package_is_told_by_the_name() -> None:
    names = ("numpy.linalg.svd", "json.decoder", "reference: for", "sklearn", "numpyro.x")
    found = [package_of(name) for name in names]
    assert found == ["package:numpy", "package:python", "package:python", "package:sklearn", "package:python"]
    assert property_of("package:sklearn").words == "from scikit-learn"
    assert property_of("package:python").words == "from Python itself"
    assert property_of("never heard of").words == "never heard of"
