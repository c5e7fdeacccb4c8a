"""The verdict on a label follows from recall and precision."""

import math

import pandas as pd
import pytest

from app.panels.atom.label_check import verdict

NAN = math.nan


def rule(
    tokens: int,
    recall: float = NAN,
    weight: float = 0.0,
    strong: float = 0.0,
    chance: float = 0.1,
    all_strong: int = 50,
) -> dict:
    """A row of `Index.label_prediction` for an atom with 200 firings."""
    return {
        "tokens": tokens,
        "all_fires": 200,
        "all_strong": all_strong,
        "recall": recall,
        "chance": chance,
        "weight_precision": weight,
        "strong_precision": strong,
    }


NONE, SELDOM = rule(0), rule(100, 0.1)


@pytest.mark.parametrize(
    ("own", "previous", "both", "word", "line"),
    [
        (rule(100, 0.95, 0.6), NONE, NONE, "holds", "(95 %), and most of its weight is there (60 %)"),
        # Every occurrence, and 5 % of its weight: where it is strong decides.
        (rule(100, 0.95, 0.05, 0.9), NONE, NONE, "strong", "fires strongly there (90 %)"),
        (rule(100, 0.95, 0.05, 0.1), NONE, NONE, "one case", "that is 5.0 % of its weight"),
        (rule(100, 0.95, 0.05, 1.0, all_strong=2), NONE, NONE, "one case", "one case among others"),
        (rule(100, 0.95, 0.05, NAN, all_strong=0), NONE, NONE, "one case", "one case among others"),
        # Precision without recall.
        (rule(100, 0.12, 0.7), NONE, NONE, "in part", "Most of its weight is on “ the” (70 %)"),
        (rule(100, 0.12, 0.2, 0.8), NONE, NONE, "in part", "the token is mostly “ the” (80 %)"),
        (rule(100, 0.12, 0.2, 0.2), NONE, NONE, "misleads", "12 % of the occurrences of “ the” and on 10 % of all"),
        (SELDOM, rule(20, 0.95), NONE, "token before", "most tokens after “ of” (95 %)"),
        (SELDOM, rule(3, 1.0), NONE, "misleads", "read the examples"),
        (SELDOM, NONE, rule(20, 1.0), "in part", "“ the” after “ of” (100 %)"),
        (rule(4, 1.0, 0.9), NONE, NONE, "untested", "only 4 times more"),
        (rule(1, 1.0, 0.9), NONE, NONE, "untested", "only once more"),
        (NONE, NONE, NONE, "untested", "nowhere else"),
        # An atom that fires nearly everywhere is not explained by any one token.
        (rule(100, 0.95, 0.1, chance=0.9), NONE, NONE, "misleads", "on 90 % of all tokens"),
    ],
)
def test_the_verdict(own: dict, previous: dict, both: dict, word: str, line: str) -> None:
    found = verdict(pd.DataFrame([own, previous, both]), " the", " of")
    assert found.word == word
    assert line in found.line and "nan" not in found.line


def test_a_source_that_begins_its_document_has_no_token_before() -> None:
    assert verdict(pd.DataFrame([SELDOM, rule(20, 0.95), rule(20, 1.0)]), " the", None).word == "misleads"


def test_an_atom_that_fires_on_its_source_alone_cannot_be_checked() -> None:
    found = verdict(pd.DataFrame([rule(100, 0.0)] * 3).assign(all_fires=0), " the", None)
    assert found.word == "untested" and "fires on no other token" in found.line
