"""Compare page: a text's tokens, decomposed by two dictionaries side by side."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import resources
from app.components.passage_strip import Group, passage_strip, scale_of
from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import inert, number, quoted, signed
from app.panels.compare.rows import match_address
from app.panels.decompose.passage import Choose, decomposed, pieces, show_notes, unread
from app.shell import chrome, urls, widgets
from app.state import pages
from itda_core.decompose.passages import Decomposition, Segment, SharedSource, align, atoms_in, sights
from itda_core.library.manifest import DictionaryManifest

MOST_LISTED = 15
"""Sources in a list; the download has all of them."""


def source_row(
    dictionary_id: str,
    source: Any,
    value: float,
    cells: Sequence[str],
    lead: str = "",
    links: Sequence[tuple[str, str, str]] = (),
) -> Row:
    """Return an atom's source in its context, as a row.

    The source is coloured by a coefficient; the row links to the atom, and `links` are its further links.
    """
    return Row(
        [
            Token(source.before),
            Token(source.label or "∅", value, is_centre=True),
            Token(source.after),
        ],
        cells,
        href=urls.atom_address(dictionary_id, int(source.atom)),
        lead=lead,
        links=links,
    )


# Two dictionaries


def passage(shown: pages.CompareState, text: str, choose: Choose) -> None:
    """Show one passage decomposed by two dictionaries, aligned by character.

    A is above or on the left, B below or on the right. Under the passage are the sources that both saw, and those that
    only one of them saw, in the selected segment or in the complete passage.

    Args:
        shown: the dictionaries, and the selected segment.
        text: the passage.
        choose: callback with a segment that was clicked, called before the page reruns.

    Raises:
        UserError: a model is missing or not the same, or the text cannot be decomposed.
    """
    records = [resources.library().record(one) for one in (shown.a, shown.b)]
    a, b = found = tuple(decomposed(record.id, text) for record in records)
    names = chrome.dictionary_names()
    segments = align(a, b)
    picked = segments[shown.segment] if shown.segment is not None and shown.segment < len(segments) else None
    groups = [
        Group([pieces(a, segment.a), pieces(b, segment.b)], at, is_chosen=segment is picked)
        for at, segment in enumerate(segments)
    ]
    passage_strip(
        groups,
        key="passages",
        scale=scale_of([*a.error.tolist(), *b.error.tolist()]),
        on_pick=choose,
        names=[f"Above, A: {names[shown.a]}", f"Below, B: {names[shown.b]}"],
        rest=unread(found),
    )
    show_notes(found)
    segment = picked or Segment(0, len(text), range(len(a.tokens)), range(len(b.tokens)))
    show_sights(shown, records, (a, b), segment, picked)


def show_sights(
    shown: pages.CompareState,
    records: list[DictionaryManifest],
    found: tuple[Decomposition, Decomposition],
    segment: Segment,
    picked: Segment | None,
) -> None:
    """Show the sources of a segment's terms: those of both sides, and of only one."""
    where = quoted(found[0].text[segment.start : segment.stop]) if picked else "the whole passage"
    st.subheader(f"Sources in {inert(where)}")
    tokens = segment.a, segment.b
    sources = [_sources(*side) for side in zip(records, found, tokens, strict=True)]
    keys = _keys(records, [list(side) for side in sources])
    seen = sights(segment, *found, *keys)
    both = [sight for sight in seen if sight.atom_a is not None and sight.atom_b is not None]
    only = [[sight for sight in seen if sight.atom_b is None], [sight for sight in seen if sight.atom_a is None]]
    names = chrome.dictionary_names()
    columns = st.columns(2, gap="medium")
    for side, (column, record, letter) in enumerate(zip(columns, records, "AB", strict=True)):
        with column:
            st.text(f"{letter}: {names[record.id]}, {_error_in(found[side], tokens[side])}")
            _show_list(f"In both: {len(both)}", shown, record, sources[side], both, side)
            _show_list(f"Only in {letter}: {len(only[side])}", shown, record, sources[side], only[side], side)
    widgets.download(lambda: _sights_table(seen, sources), key="sights_csv", file="passage-sources.csv")


def _error_in(found: Decomposition, tokens: range) -> str:
    errors = [float(found.error[row]) for at in tokens if (row := found.tokens[at].row) is not None]
    if not errors:
        return "nothing captured"
    return f"{'error' if len(errors) == 1 else 'mean error'} {number(sum(errors) / len(errors))}"


def _show_list(
    title: str,
    shown: pages.CompareState,
    record: DictionaryManifest,
    sources: dict[int, Any],
    listed: list[SharedSource],
    side: int,
) -> None:
    st.caption(inert(title))
    rows = []
    for sight in listed[:MOST_LISTED]:
        atom, weight = (sight.atom_a, sight.weight_a) if side == 0 else (sight.atom_b, sight.weight_b)
        if atom is not None:
            # A source that only one of them saw may still have a counterpart on the other side: a twin or a best match.
            is_alone = sight.atom_a is None or sight.atom_b is None
            links = [("best match", match_address(shown, sight.atom_a, sight.atom_b), "")] if is_alone else []
            rows.append(source_row(record.id, sources[atom], weight, [signed(weight, 2)], links=links))
    if rows:
        key = f"sights_{side}_{title.split(':')[0]}"
        columns = ["Source", "of |x|", *(["pages"] if rows[0].links else [])]
        token_strip(rows, key=key, columns=columns, strongest=1.0, numbers=False)
    if len(listed) > MOST_LISTED:
        st.caption(f"{len(listed) - MOST_LISTED} more are in the download.")


def _sources(record: DictionaryManifest, found: Decomposition, tokens: range) -> dict[int, Any]:
    """Return the rows of `Index.sources` of some tokens' atoms, by atom."""
    return {int(source.atom): source for source in each(resources.index(record.id).sources(atoms_in(found, tokens)))}


def _keys(records: list[DictionaryManifest], found: list[list[int]]) -> list[dict[int, tuple[int, int]]]:
    """Return a key for the source of each atom that was found, by side and atom.

    Twins have the same key, any other atom has its own.
    """
    a, b = records
    # Twins are as in the lists: of several tokens that end at one character, only the last represents it.
    twins = resources.pair(a, b).twins()
    own = [{atom: (side, atom) for atom in atoms} for side, atoms in enumerate(found)]
    return [own[0], own[1] | {twin: (0, atom) for atom, twin in twins.items() if twin in own[1]}]


def _sights_table(seen: list[SharedSource], sources: list[dict[int, Any]]) -> pd.DataFrame:
    """Return the sources as a table, a row each.

    Columns: document, position, before, label, after, atom_a, weight_a, atom_b, weight_b.
    """
    rows = []
    for sight in seen:
        atoms = zip(sources, (sight.atom_a, sight.atom_b), strict=True)
        source = next(of_side[atom] for of_side, atom in atoms if atom is not None)
        rows.append(
            {
                **{name: getattr(source, name) for name in ("document", "position", "before", "label", "after")},
                "atom_a": sight.atom_a,
                "weight_a": sight.weight_a,
                "atom_b": sight.atom_b,
                "weight_b": sight.weight_b,
            }
        )
    return pd.DataFrame(rows)
