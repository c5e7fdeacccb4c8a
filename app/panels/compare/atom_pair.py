"""Compare page: an atom of A and an atom of B side by side.

For each: its source, its key figures, and where it fires.
"""

from dataclasses import replace

import pandas as pd
import streamlit as st

from app import resources
from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, inert, number, share
from app.panels.compare import transplant
from app.panels.token_rows import EXAMPLES, example_row, tokens_of
from app.shell import chrome, urls, widgets
from app.state import pages
from itda_core.queries.atoms import Atom, Index
from itda_core.queries.pair_filters import LEAST_TOGETHER
from itda_core.queries.pairs import Pair

BESIDES = {"match": "These two", "a": "A's atom in B", "b": "B's atom in A"}


def show_match(shown: pages.CompareState, pair: Pair) -> None:
    """Show the two atoms that the URL names.

    Of one alone, the other is its twin, or its best match where it has none.

    Raises UserError for a number that no atom has.
    """
    indexes = {"a": resources.index(shown.a), "b": resources.index(shown.b)}
    atoms = {
        side: indexes[side].atom(number_)
        for side, number_ in (("a", shown.atom_a), ("b", shown.atom_b))
        if number_ is not None
    }
    back = urls.address(replace(shown, atom_a=None, atom_b=None, beside="match"))
    widgets.link("Back to the lists", back, "arrow_back", key="back_to_lists")
    side = "a" if "a" in atoms else "b"
    relation = _complete(pair, indexes, atoms, side)
    beside = "match"
    if len(atoms) == 2:
        beside = _choose_beside(shown)
    st.subheader(relation if beside == "match" else f"{beside.upper()}'s atom and its transplant")
    # An atom without a counterpart is shown beside its transplant.
    transplanted = side if len(atoms) == 1 else beside
    fires = None
    if transplanted != "match":
        fires = transplant.fires_beside(shown, transplanted, atoms[transplanted])
        st.caption(transplant.ABOUT + ("" if fires is None else f" {transplant.LEFT_OUT}"))
    for column, each_side in zip(st.columns(2, gap="large"), ("a", "b"), strict=True):
        with column:
            dictionary = shown.a if each_side == "a" else shown.b
            if transplanted in ("match", each_side):
                _show_side(each_side, dictionary, atoms[each_side], indexes[each_side], fires)
                continue
            if len(atoms) == 1:
                _show_none(each_side.upper(), pair.measured(atoms[side].atom, side).empty)
            transplant.show_transplant(shown, transplanted, atoms[transplanted])


def _choose_beside(shown: pages.CompareState) -> str:
    """Show and return the choice of what stands side by side.

    This is the two atoms, or one of them and its transplant.
    """
    st.session_state["compare_beside"] = shown.beside

    def changed() -> None:
        urls.change(pages.CompareState, beside=st.session_state["compare_beside"])

    st.segmented_control(
        "Side by side",
        list(BESIDES),
        format_func=BESIDES.__getitem__,
        required=True,
        key="compare_beside",
        on_change=changed,
        label_visibility="collapsed",
    )
    return shown.beside


def _show_none(side: str, is_early: bool) -> None:
    """Show why there is no atom to place beside one of the other side."""
    if is_early:
        st.text(f"Its best match in {side} is not computed yet: start the comparison from the lists.")
    else:
        st.text(f"No atom of {side} fires together with it on {LEAST_TOGETHER} tokens or more.")


def _complete(pair: Pair, indexes: dict[str, Index], atoms: dict[str, Atom], side: str) -> str:
    """Add the missing atom, if there is one; return how the two atoms are related."""
    other = "b" if side == "a" else "a"
    atom = atoms[side].atom
    twin = pair.twin(atom, side)
    measured = pair.measured(atom, side)
    row = None if measured.empty else measured.iloc[0]
    best = None if row is None or pd.isna(row["other"]) else int(row["other"])
    if other not in atoms:
        wanted = best if twin is None else twin
        if wanted is None:
            return "No twin, and no match yet" if row is None else "No twin, and no match"
        atoms[other] = indexes[other].atom(wanted)
    if atoms[other].atom == twin:
        words = ["The same source"]
        if row is not None and best is not None:
            alike = f"they correlate at r {number(row['correlation'], 2)}"
            words.append(
                alike if best == twin else f"but atom {best} of {other.upper()} correlates more with {side.upper()}'s"
            )
        return ": ".join(words) if len(words) > 1 and best == twin else ", ".join(words)
    if row is None or atoms[other].atom != best:  # the first may be the other's best match
        back = pair.measured(atoms[other].atom, other)
        row = None if back.empty or back.iloc[0]["other"] != atom else back.iloc[0]
    if row is not None:
        return f"Best match: r {number(row['correlation'], 2)}, together on {count(row['together'])} tokens"
    return "Two atoms with different sources"


def _show_side(side: str, dictionary_id: str, atom: Atom, index: Index, fires: float | None) -> None:
    """Show one of the two atoms.

    Args:
        side: its side, `a` or `b`.
        dictionary_id: id of its dictionary.
        atom: the atom.
        index: that dictionary's index.
        fires: when it is shown beside its transplant, the share of the tokens that both dictionaries saw on which it
            fires; its source is then excluded from all figures and examples of where it fires.
    """
    without = None if fires is None else atom.token
    strongest = atom.strongest if without is None else index.strongest(atom.atom, without)
    name = chrome.dictionary_names()[dictionary_id]
    row = Row([Token(f"Atom {atom.atom}, {name}")], href=urls.atom_address(dictionary_id, atom.atom), sides=side)
    token_strip([row], key=f"match_link_{side}", style="links")
    with st.container(border=True):
        if atom.has_source:
            passage = index.passages([atom.token], atom.atom)[atom.token]
            token_strip(
                [Row(tokens_of(passage, atom.token))], key=f"match_source_{side}", style="passage", strongest=strongest
            )
            st.caption(f"Source: {inert(atom.document_name)}, token {atom.position}")
        else:
            st.text("It is not known which text this atom came from.")
    with st.grid(3, min_column_width=110):
        seen = "captured tokens" if fires is None else "common tokens, without the source"
        st.metric("Fires on", share(atom.density if fires is None else fires), border=True, help=f"Share of the {seen}")
        largest = "Largest absolute coefficient" + (
            "" if without is None else " on captured tokens other than the source"
        )
        st.metric("Strongest", number(strongest), border=True, help=largest)
        st.metric("Admitted at", number(atom.admission_error), border=True, help="Error when it was admitted")
    top = index.top_examples(atom.atom, EXAMPLES, without)
    others = "captured tokens" if without is None else "other captured tokens"
    st.text("Where its coefficient is largest" if len(top) else f"It never fires on the {others}.")
    if top.empty:
        return
    passages = index.passages(top["token"].tolist(), atom.atom)
    rows = [example_row(passages[example.token], example.token, example.coefficient) for example in each(top)]
    token_strip(rows, key=f"match_examples_{side}", strongest=strongest)
    widgets.download(
        lambda: index.activations(atom.atom, without=without),
        key=f"match_csv_{side}",
        file=f"{dictionary_id}-atom-{atom.atom}.csv",
        label=f"Where {side.upper()}'s atom fires, as CSV",
    )
