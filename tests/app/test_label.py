"""What is said of a label follows from the numbers."""

import math

import pandas as pd
import pytest

from app.panels.atom.label_check import verdict

NAN = math.nan


def rules(
    token: tuple, previous: tuple = (10, 1, 0.1, 0.1, 0.1, NAN, NAN, NAN), both: tuple | None = None
) -> pd.DataFrame:
    """The frame of `Index.label_prediction` for an atom with 200 firings, 50 of them strong unless none is."""
    columns = ["tokens", "fires", "probability", "chance", "covered", "strong", "strong_chance", "strong_covered"]
    rows = [token, previous, both or (0, 0, NAN, 0.1, 0.0, NAN, 0.01, 0.0)]
    frame = pd.DataFrame(rows, columns=columns).assign(all_fires=200)
    frame["all_strong"] = frame["strong_covered"].map(lambda covered: 0 if pd.isna(covered) else 50)
    frame.insert(0, "rule", ["token", "previous", "both"])
    return frame


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


def test_the_pair_explains_what_neither_token_does() -> None:
    frame = rules((100, 12, 0.12, 0.1, 0.4, 0.01, 0.01, 0.1), both=(20, 20, 1.0, 0.1, 0.1, 0.5, 0.01, 0.1))
    found = verdict(frame, SHARES, ".", "torch")
    assert (found.word, found.line) == ("in part", "It fires on “.” after “torch”, seldom on “.” alone.")


def test_an_atom_that_fires_on_its_source_alone_cannot_be_checked() -> None:
    frame = rules((100, 0, 0.0, 0.0, NAN, 0.0, 0.0, NAN)).assign(all_fires=0)
    found = verdict(frame, SHARES, " the", None)
    assert found.word == "untested"
    assert "never fires" in found.line


def test_few_strong_firings_decide_nothing() -> None:
    token = (100, 95, 0.95, 0.1, 0.4, 0.0, 0.01, 0.0)
    found = verdict(rules(token).assign(all_strong=2), SHARES, " the", " of")
    assert found.word == "holds"
    assert "too few" in found.line
    none = verdict(rules((*token[:7], NAN)), SHARES, " the", " of")
    assert "elsewhere." not in none.line
    assert any("never reaches half" in reason for reason in none.reasons)


def test_strong_firing_elsewhere_is_not_denied() -> None:
    found = verdict(rules((0, 0, NAN, 0.1, 0.0, NAN, 0.01, 0.0)), SHARES, " the", " of")
    assert any("half of its strongest coefficient on 50 tokens." in reason for reason in found.reasons)


def test_the_reasons_name_numbers_against_chance() -> None:
    found = verdict(rules((100, 95, 0.95, 0.1, 0.4, 0.5, 0.01, 0.9)), SHARES, " the", None)
    assert "100 other occurrences of the token “ the” it fires on 95, 95 % where chance is 10 %" in found.reasons[0]
    assert "begins its document" in found.reasons[1]
    assert "“ the” 75 %, “↵” 20 %; together 95 %" in found.reasons[-1]
