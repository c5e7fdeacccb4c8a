"""What an atom's label is worth: whether firing follows the token that the atom came from."""

from typing import NamedTuple

import pandas as pd

from app.tables import each
from app.text import count, quoted, share

_LIKELY = 0.5
_OFTEN = 2.0
_FEW = 5
_NOTABLE = 0.1
_NAMED = 4


class Verdict(NamedTuple):
    """The answer in a few words, and why."""

    word: str
    """`holds`, `in part`, `token before`, `misleads` or `untested`."""
    line: str
    """The answer for the reader."""
    reasons: tuple[str, ...]
    """Sentences with the numbers behind it."""


def verdict(prediction: pd.DataFrame, shares: pd.DataFrame, label: str, previous: str) -> Verdict:
    """Judge a label.

    Args:
        prediction: `Index.label_prediction` of the atom.
        shares: `Index.token_shares` of the atom.
        label: the source's own token.
        previous: the token before it; empty where the source begins its document.
    """
    rules = {row.rule: row for row in each(prediction)}
    own, before, both = rules["token"], rules["previous"], rules["both"]
    reasons = (
        _sentence(own, f"the token {quoted(label)}"),
        _sentence(before, f"a token after {quoted(previous)}") if previous else "The source begins its document.",
        _sentence(both, f"{quoted(label)} after {quoted(previous)}") if previous else "",
        _strong(own, label),
        _weight(shares),
    )
    word, line = _judge(own, before, label, previous)
    return Verdict(word, line, tuple(reason for reason in reasons if reason))


def _judge(own, before, label: str, previous: str) -> tuple[str, str]:
    if not own.tokens:
        return "untested", f"{quoted(label)} occurs nowhere else in the captured text, so the label cannot be checked."
    if own.tokens < _FEW:
        times = "once" if own.tokens == 1 else f"{own.tokens} times"
        return "untested", f"{quoted(label)} occurs only {times} more, too seldom to check the label."
    follows_token = own.probability >= _LIKELY and own.probability >= _OFTEN * own.chance
    explains_strong = _number(own.strong_covered) >= _LIKELY
    if follows_token and explains_strong:
        return "holds", f"It fires on {quoted(label)} most of the time, and most of its strong firing is there."
    if follows_token:
        return "in part", f"It fires on {quoted(label)} most of the time, but most of its strong firing is elsewhere."
    if explains_strong:
        line = f"Its strong firing is mostly on {quoted(label)}, yet most occurrences of that token leave it silent."
        return "in part", line
    follows_before = before.tokens >= _FEW and before.probability >= max(_LIKELY, _OFTEN * before.chance)
    if follows_before:
        return "token before", f"It follows the token before, {quoted(previous)}, more than the token it came from."
    if own.probability >= _OFTEN * own.chance:
        often = f"{own.probability / own.chance:.1f} times as often as by chance"
        if max(_number(own.covered), _number(own.strong_covered)) >= _NOTABLE:
            return "in part", f"It fires on {quoted(label)} {often}, but most of its firing is elsewhere."
        line = f"It fires on {quoted(label)} {often}, but the label names one case of something wider."
        return "misleads", line
    return "misleads", f"It fires on {quoted(label)} hardly more often than on any other token: read the examples."


def _sentence(rule, what: str) -> str:
    if not rule.tokens:
        return f"No other occurrence of {what}."
    return (
        f"Of {count(rule.tokens)} other {'occurrence' if rule.tokens == 1 else 'occurrences'} of {what} it fires on "
        f"{count(rule.fires)}, {share(rule.probability)} where chance is {share(rule.chance)}; that is "
        f"{share(_number(rule.covered))} of its firing."
    )


def _strong(own, label: str) -> str:
    if not own.tokens or pd.isna(own.strong_covered):
        return "Away from its source it never reaches half of its strongest coefficient."
    return (
        f"Of its firing at half of its strongest or more, {share(own.strong_covered)} is on {quoted(label)}: "
        f"{count(round(own.strong * own.tokens))} of its {count(own.tokens)} other occurrences get that far."
    )


def _weight(shares: pd.DataFrame) -> str:
    most = [f"{quoted(row.text)} {share(row.weight_share)}" for row in each(shares.head(_NAMED))]
    return f"Of the sum of its coefficients, signs aside, most is on {', '.join(most)}." if most else ""


def _number(value: float) -> float:
    return 0.0 if pd.isna(value) else float(value)
