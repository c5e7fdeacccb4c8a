"""Compare page: an atom's transplant.

The transplant is the other model's activation at the atom's source; the page shows on which tokens of that model it
fires.
"""

import numpy as np
import pandas as pd
import streamlit as st

from app import resources
from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, inert, number, share
from app.panels import jobs
from app.panels.token_rows import EXAMPLES, example_row, tokens_of
from app.shell import chrome, widgets
from app.state import pages
from itda_core.common.errors import DamagedError
from itda_core.queries.atoms import Atom, Index

ABOUT = (
    "The transplant is the other model's activation at the same source. The transplants of all atoms form the "
    "dictionary that decomposes the other model's tokens here. "
)
LEFT_OUT = "The source itself is left out of the figures and examples: both fire there by construction."
_NO_ATOM = -1  # for a transplant, which is none of the atoms in the index


def fires_beside(shown: pages.CompareState, side: str, atom: Atom) -> float | None:
    """Return the share of common tokens on which an atom of a side fires.

    Common tokens are those that both dictionaries saw, without the atom's source. None where the atom is not shown
    beside a transplant: none was computed, or the atom has none. Raises UserError.
    """
    library = resources.library()
    found = resources.transplant(*(library.record(each) for each in _from_to(shown, side)))
    carried = None if found is None else found.atom(atom.atom)
    return None if found is None or carried is None else carried.fires_a / max(1, found.summary.tokens - 1)


def _from_to(shown: pages.CompareState, side: str) -> tuple[str, str]:
    return (shown.a, shown.b) if side == "a" else (shown.b, shown.a)


def show_transplant(shown: pages.CompareState, side: str, atom: Atom) -> None:
    """Show an atom's transplant, or the button that computes transplants."""
    library = resources.library()
    here, there = (library.record(each) for each in _from_to(shown, side))
    other = "b" if side == "a" else "a"
    found = resources.transplant(here, there)
    if found is None:
        jobs.offer_work(
            f"Transplants of {side.upper()}'s atoms to {other.upper()}'s model are computed once and stored.",
            f"Transplant {side.upper()}'s atoms",
            ":material/move_down:",
            ["transplant", here.id, there.id],
        )
        return
    name = chrome.dictionary_names()[there.id]
    row = Row([Token(f"Transplant of atom {atom.atom}, to {name}")], sides=other)
    token_strip([row], key=f"transplant_name_{other}", style="links")
    carried = found.atom(atom.atom)
    if carried is None:
        reasons = {
            "token": f"{other.upper()} did not capture that token",
            "characters": f"no token that {other.upper()} captured ends at the same character",
        }
        st.text(f"No transplant: {reasons[found.summary.key]}.")
        return
    examples = found.examples(atom.atom)
    index = resources.index(there.id)
    passages = _passages(index, [carried.token, *examples["token"].tolist()])
    source = passages[carried.token]
    with st.container(border=True):
        token_strip([Row(tokens_of(source, carried.token))], key=f"transplant_source_{other}", style="passage")
        place = source[source["is_centre"]].iloc[0]
        st.caption(f"The same source: {inert(str(place['name']))}, token {place['position']}")
    with st.grid(3, min_column_width=110):
        st.metric(
            "Correlation",
            number(carried.correlation, 2),
            border=True,
            help="Correlation of the atom's coefficients with its transplant's over the common tokens, without the "
            "source",
        )
        st.metric(
            "Fires on",
            share(carried.fires / max(1, found.summary.tokens - 1)),
            border=True,
            help="Share of the common tokens, without the source",
        )
        st.metric(
            "Together on",
            count(carried.together),
            border=True,
            help=f"Tokens on which both fire; the atom itself fires on {count(carried.fires_a)} of the common tokens",
        )
    st.text("Where its coefficient is largest" if len(examples) else "It never fires on the other common tokens.")
    if examples.empty:
        return
    rows = [
        example_row(_weighed(passages[example.token], example.coefficient), example.token, example.coefficient)
        for example in _different(examples, passages)
    ]
    token_strip(rows, key=f"transplant_examples_{other}", strongest=carried.strongest or None)
    widgets.download(
        lambda: _table(examples, passages),
        key=f"transplant_csv_{other}",
        file=f"{here.id}-atom-{atom.atom}-in-{there.id}.csv",
        label="Where the transplant fires most, as CSV",
    )


def _passages(index: Index, tokens: list[int]) -> dict[int, pd.DataFrame]:
    """Return the passages around some tokens, by token.

    Raises DamagedError for a token that the index does not have.
    """
    found = {int(str(centre)): rows for centre, rows in index.contexts(tokens, _NO_ATOM).groupby("centre")}
    if missing := set(tokens) - found.keys():
        raise DamagedError(
            f"the transplant names token {min(missing)}, which is not in the index: delete its transplant.json and "
            "compute it again"
        )
    return found


def _weighed(passage: pd.DataFrame, coefficient: float) -> pd.DataFrame:
    """Return a passage in which only the centre has a coefficient.

    The coefficients of its other tokens are not stored.
    """
    return passage.assign(coefficient=np.where(passage["is_centre"], coefficient, np.nan))


def _different(examples: pd.DataFrame, passages: dict[int, pd.DataFrame]) -> list:
    """Return the first examples, only the first of those with the same text."""
    found = {}
    for example in each(examples):
        found.setdefault("".join(passages[example.token]["text"]), example)
    return list(found.values())[:EXAMPLES]


def _table(examples: pd.DataFrame, passages: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Return the tokens on which a transplant fires most, as a table.

    Columns: document, name, position, text, coefficient.
    """
    centres = pd.concat([passages[token][passages[token]["is_centre"]] for token in examples["token"].tolist()])
    columns = ["document", "name", "position", "text"]
    return centres.loc[:, columns].assign(coefficient=examples["coefficient"].tolist())
