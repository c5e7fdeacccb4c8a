"""What is said of a label follows from the numbers."""

import math

import pandas as pd
import pytest

from app.label import verdict

NAN = math.nan


def rules(token: tuple, previous: tuple = (10, 1, 0.1, 0.1, 0.1, NAN, NAN, NAN)) -> pd.DataFrame:
    columns = [
        "rule",
        "tokens",
        "fires",
        "probability",
        "chance",
        "covered",
        "strong",
        "strong_chance",
        "strong_covered",
    ]
    rows = [("token", *token), ("previous", *previous), ("both", 0, 0, NAN, 0.1, 0.0, NAN, 0.01, 0.0)]
    return pd.DataFrame(rows, columns=columns)


SHARES = pd.DataFrame({"text": [" the", "\n"], "weight_share": [0.75, 0.2]})


@pytest.mark.parametrize(
    ("token", "previous", "word"),
    [
        ((100, 95, 0.95, 0.1, 0.4, 0.5, 0.01, 0.9), None, "holds"),
        ((100, 95, 0.95, 0.1, 0.4, 0.0, 0.01, 0.1), None, "in part"),
        ((100, 12, 0.12, 0.1, 0.4, 0.01, 0.01, 1.0), None, "in part"),
        ((100, 30, 0.30, 0.1, 0.4, 0.0, 0.01, 0.0), None, "in part"),
        ((100, 30, 0.30, 0.1, 0.02, 0.0, 0.01, 0.01), None, "misleads"),
        ((100, 12, 0.12, 0.1, 0.1, 0.0, 0.01, 0.0), (20, 19, 0.95, 0.1, 0.3, 0.5, 0.01, 0.9), "token before"),
        ((100, 12, 0.12, 0.1, 0.1, 0.0, 0.01, 0.0), (3, 3, 1.0, 0.1, 0.3, 0.5, 0.01, 0.9), "misleads"),
        ((100, 5, 0.05, 0.1, 0.1, 0.0, 0.01, NAN), None, "misleads"),
        ((4, 4, 1.0, 0.1, 0.4, 0.5, 0.01, 0.9), None, "untested"),
        ((0, 0, NAN, 0.1, 0.0, NAN, 0.01, NAN), None, "untested"),
        # An atom that fires nearly everywhere is not explained by any one token.
        ((100, 95, 0.95, 0.9, 0.4, 0.0, 0.01, 0.1), None, "misleads"),
    ],
)
def test_the_verdict(token: tuple, previous: tuple | None, word: str) -> None:
    found = verdict(rules(token, previous) if previous else rules(token), SHARES, " the", " of")
    assert found.word == word
    assert "nan" not in " ".join([found.line, *found.reasons])


def test_the_reasons_name_numbers_against_chance() -> None:
    found = verdict(rules((100, 95, 0.95, 0.1, 0.4, 0.5, 0.01, 0.9)), SHARES, " the", "")
    assert "100 other occurrences of the token “ the” it fires on 95, 95 % where chance is 10 %" in found.reasons[0]
    assert "begins its document" in found.reasons[1]
    assert "“ the” 75 %, “↵” 20 %" in found.reasons[-1]
