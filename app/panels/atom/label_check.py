"""Check of an atom's label: whether the token of its source and firing go together.

The label is taken as a prediction of where the atom fires, with a recall and a precision.
"""

from typing import NamedTuple

import pandas as pd

from app.format.tables import each
from app.format.text import quoted, share

_MOST = 0.5
_ABOVE_CHANCE = 2.0
_FEW = 5


class Verdict(NamedTuple):
    """Outcome of the check."""

    word: str
    """`holds`, `strong`, `in part`, `one case`, `token before`, `misleads` or `untested`."""
    line: str
    """The outcome with its figures, as a sentence for the user."""


def verdict(prediction: pd.DataFrame, label: str, previous: str | None) -> Verdict:
    """Judge a label: it holds where recall and precision, by weight, are a half or more.

    Args:
        prediction: `Index.label_prediction` of the atom.
        label: the source's own token.
        previous: the token before it; None where the source begins its document.
    """
    own, before, both = each(prediction)
    name = quoted(label)
    if not own.all_fires:
        return Verdict("untested", "It fires on no other token of the captured text, so the label cannot be checked.")
    if own.tokens < _FEW:
        times = {0: "nowhere else", 1: "only once more"}.get(own.tokens, f"only {own.tokens} times more")
        return Verdict("untested", f"{name} occurs {times} in the captured text, too seldom to check the label.")
    is_strong = own.all_strong >= _FEW and own.strong_precision >= _MOST
    recall, weight, strong = share(own.recall), share(own.weight_precision), share(own.strong_precision)
    if _is_recalled(own):
        fires = f"It fires on most occurrences of {name} ({recall})"
        if own.weight_precision >= _MOST:
            return Verdict("holds", f"{fires}, and most of its weight is there ({weight}).")
        if is_strong:
            return Verdict("strong", f"{fires} and fires strongly there ({strong}); weakly, it fires elsewhere too.")
        return Verdict("one case", f"{fires}, but that is {weight} of its weight: {name} is one case among others.")
    if previous is not None and _is_recalled(before):
        line = (
            f"It fires on most tokens after {quoted(previous)} ({share(before.recall)}), on {name} seldom ({recall})."
        )
        return Verdict("token before", line)
    if previous is not None and _is_recalled(both):
        pair = f"{name} after {quoted(previous)}"
        line = f"It fires on most occurrences of {pair} ({share(both.recall)}), on {name} alone seldom ({recall})."
        return Verdict("in part", line)
    if own.weight_precision >= _MOST or is_strong:
        where = f"Most of its weight is on {name} ({weight})"
        if own.weight_precision < _MOST:
            where = f"Where it fires strongly, the token is mostly {name} ({strong})"
        return Verdict("in part", f"{where}, but it fires on few of its occurrences ({recall}): on some uses of it.")
    line = f"It fires on {recall} of the occurrences of {name} and on {share(own.chance)} of all tokens"
    return Verdict("misleads", f"{line}; {weight} of its weight is on {name}: read the examples.")


def _is_recalled(rule) -> bool:
    """Return whether the atom fires on most of the tokens that a rule selects.

    It must also fire on them far more often than on tokens in general.
    """
    return rule.tokens >= _FEW and rule.recall >= max(_MOST, _ABOVE_CHANCE * rule.chance)
