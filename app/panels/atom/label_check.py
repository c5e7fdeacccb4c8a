"""Check of an atom's label: whether firing follows the token of its source."""

from typing import NamedTuple

import pandas as pd

from app.format.tables import each
from app.format.text import count, quoted, share

_LIKELY = 0.5
_OFTEN = 2.0
_FEW = 5
_NOTABLE = 0.1
_NAMED = 4


class Verdict(NamedTuple):
    """Outcome of the check, with its reasons."""

    word: str
    """`holds`, `in part`, `token before`, `misleads` or `untested`."""
    line: str
    """The outcome, as a sentence for the user."""
    reasons: tuple[str, ...]
    """Sentences with the numbers behind it."""


def verdict(prediction: pd.DataFrame, shares: pd.DataFrame, label: str, previous: str | None) -> Verdict:
    """Judge a label.

    Args:
        prediction: `Index.label_prediction` of the atom.
        shares: `Index.token_shares` of the atom.
        label: the source's own token.
        previous: the token before it; None where the source begins its document.
    """
    rules = {row.rule: row for row in each(prediction)}
    own, before, both = rules["token"], rules["previous"], rules["both"]
    reasons = [_sentence(own, f"the token {quoted(label)}")]
    if previous is None:
        reasons.append("The source begins its document.")
    else:
        reasons.append(_sentence(before, f"a token after {quoted(previous)}"))
        reasons.append(_sentence(both, f"{quoted(label)} after {quoted(previous)}"))
    reasons += [_strong(own, label), _weight(shares)]
    word, line = _judge(own, before, both, label, previous)
    return Verdict(word, line, tuple(reason for reason in reasons if reason))


def _judge(own, before, both, label: str, previous: str | None) -> tuple[str, str]:
    if not own.all_fires:
        return "untested", "Away from its source it never fires in the captured text, so the label cannot be checked."
    if not own.tokens:
        return "untested", f"{quoted(label)} occurs nowhere else in the captured text, so the label cannot be checked."
    if own.tokens < _FEW:
        times = "once" if own.tokens == 1 else f"{own.tokens} times"
        return "untested", f"{quoted(label)} occurs only {times} more, too seldom to check the label."
    # If few firings are strong, their positions are no evidence.
    strong_here = own.strong_covered >= _LIKELY if own.all_strong >= _FEW else None
    if _predicts(own):
        on_label = f"It fires on {quoted(label)} most of the time"
        if strong_here is None:
            return "holds", f"{on_label}; elsewhere too few of its firings are strong to say more."
        if strong_here:
            return "holds", f"{on_label}, and most of its strong firing is there."
        return "in part", f"{on_label}, but most of its strong firing is elsewhere."
    if previous is not None and _predicts(before):
        return "token before", f"It follows the token before, {quoted(previous)}, more than the token it came from."
    if previous is not None and _predicts(both):
        return "in part", f"It fires on {quoted(label)} after {quoted(previous)}, seldom on {quoted(label)} alone."
    if strong_here:
        line = f"Its strong firing is mostly on {quoted(label)}, yet most occurrences of that token leave it silent."
        return "in part", line
    if own.probability >= _OFTEN * own.chance:
        often = f"{own.probability / own.chance:.1f} times as often as by chance"
        if own.covered >= _NOTABLE:
            return "in part", f"It fires on {quoted(label)} {often}, but most of its firing is elsewhere."
        return "misleads", f"It fires on {quoted(label)} {often}, but the label names one case of something wider."
    return "misleads", f"It fires on {quoted(label)} hardly more often than on any other token: read the examples."


def _predicts(rule) -> bool:
    """Return whether the atom fires on most of the tokens that a rule selects.

    It must also fire on them far more often than on tokens in general.
    """
    return rule.tokens >= _FEW and rule.probability >= max(_LIKELY, _OFTEN * rule.chance)


def _sentence(rule, event: str) -> str:
    if not rule.tokens:
        return f"No other occurrence of {event}."
    text = (
        f"Of {count(rule.tokens)} other {'occurrence' if rule.tokens == 1 else 'occurrences'} of {event} it fires on "
        f"{count(rule.fires)}, {share(rule.probability)} where chance is {share(rule.chance)}"
    )
    return f"{text}; that is {share(rule.covered)} of its firing." if rule.all_fires else f"{text}."


def _strong(own, label: str) -> str:
    if not own.all_strong:
        return "Away from its source it never reaches half of its strongest coefficient."
    tokens = "token" if own.all_strong == 1 else "tokens"
    text = f"Away from its source it reaches half of its strongest coefficient on {count(own.all_strong)} {tokens}"
    here = round(own.strong_covered * own.all_strong)
    return f"{text}, {count(here)} of them {quoted(label)}." if own.tokens else f"{text}."


def _weight(shares: pd.DataFrame) -> str:
    most = shares.head(_NAMED)
    named = [f"{quoted(row.text)} {share(row.weight_share)}" for row in each(most)]
    if not named:
        return ""
    return f"The largest parts of its weight (coefficients, signs aside) are {', '.join(named)}; together " + (
        f"{share(sum(most['weight_share'].tolist()))}."
    )
