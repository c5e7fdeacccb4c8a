"""A text as dictionaries decompose it: its tokens, the terms of one, and one passage decomposed by two dictionaries."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import parts, resources, state
from app.components.passage_strip import Group, Piece, passage_strip, scale_of
from app.components.token_strip import Row, Token, token_strip
from app.tables import each
from app.text import count, inert, number, quoted, signed
from itda_core.library import DictionaryRecord
from itda_core.passages import Decomposition, Segment, Sight, align, atoms_in, sights

MOST_LISTED = 15
"""Sources of a list; all of them are in the download."""
MOST_UNREAD = 2_000
"""Characters of a text's unread rest that are shown."""
FORGOTTEN = "The text was too long for this address, and the app does not hold it any more. Paste it again."
"""Said where an address names a text that the app has no more."""
KEPT = "This text is too long for an address, so a link to this page holds only while the app runs."
"""Said under such a text while the app has it."""

Choose = Callable[[int], None]


def addressed(typed: str) -> tuple[str, str]:
    """How an address names a text: the text, or where it is too long for that, what the app keeps it under."""
    return (typed, "") if state.fits_address(typed) else ("", resources.keep_text(typed))


def text_of(text: str, kept: str) -> str | None:
    """The text that an address names so; None where the app has it no more."""
    return resources.kept_text(kept) if kept else text


def to_decompose(text: str | None, kept: str) -> str:
    """What there is to decompose, after a word on a text that the app keeps or has no more; empty where nothing is."""
    if text is None:
        st.info(FORGOTTEN)
        return ""
    if kept:
        st.caption(KEPT)
    return text if text.strip() else ""


def decomposed(dictionary_id: str, text: str) -> Decomposition:
    """A text as a dictionary decomposes it, with a word to the reader for as long as it takes. Raises UserError."""
    name = parts.dictionary_names().get(dictionary_id, dictionary_id)
    with st.spinner(f"Decomposing with {inert(name)}; the first text of a model waits until it is loaded …"):
        return resources.decomposition(dictionary_id, text)


def pieces(found: Decomposition, tokens: range) -> list[Piece]:
    """Some tokens as the strip takes them."""
    return [
        Piece(
            found.shown(at),
            found.label(at),
            None if (row := found.tokens[at].row) is None else float(found.error[row]),
            found.part(at)[0],
        )
        for at in tokens
    ]


def show_tokens(found: Decomposition, chosen: int | None, choose: Choose) -> None:
    """The passage of one dictionary, each token to be chosen."""
    groups = [
        Group([[piece]], None if piece.error is None else at, is_chosen=at == chosen)
        for at, piece in enumerate(pieces(found, range(len(found.tokens))))
    ]
    scale = scale_of(found.error.tolist())
    rest = unread(found)
    passage_strip(groups, key="passage", scale=scale, on_pick=choose, names=[""], rest=rest)
    show_notes(found)


def unread(found: Decomposition) -> str:
    """The rest of the text, as much of it as is shown."""
    rest = found.text[found.read :]
    return rest if len(rest) <= MOST_UNREAD else rest[:MOST_UNREAD] + " …"


def show_notes(found: Decomposition) -> None:
    """What has to be said of how a text was read."""
    skipped = sum(token.row is None for token in found.tokens)
    words = []
    if skipped:
        words.append("Dotted tokens begin a window, where attention sinks; like the build, this leaves them out.")
    if found.windows > 1:
        words.append(f"The text was read in {found.windows} windows, and the model starts anew at each.")
    if any(not found.shown(at) for at in range(len(found.tokens))):
        words.append("·2 and ·3 are the second and third token of the character before them.")
    if rest := found.text[found.read :].strip():
        words.append(
            f"Read are the first {count(len(found.tokens))} tokens; the grey rest, {count(len(rest))} characters, "
            "was not."
        )
    if words:
        st.caption(" ".join(words))


def terms_table(dictionary_id: str, found: Decomposition, tokens: Sequence[int]) -> pd.DataFrame:
    """The terms of some captured tokens, a row each, with the sources of their atoms.

    Columns: token, text, start, stop, norm, error, term (from 1), coefficient, left (error with the terms up to this
    one), atom, document, position, label, before, after.
    """
    rows = []
    for at in tokens:
        token, terms = found.tokens[at], found.terms_of(at)
        rows.append(
            pd.DataFrame(
                {
                    "token": at,
                    "text": found.label(at),
                    "start": token.start,
                    "stop": token.stop,
                    "norm": found.norm[token.row],
                    "error": found.error[token.row],
                    "term": range(1, len(terms.atom) + 1),
                    "coefficient": terms.coefficient,
                    "left": terms.left,
                    "atom": terms.atom,
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    sources = resources.index(dictionary_id).sources(sorted(set(table["atom"].tolist()))).drop(columns="stop")
    return table.merge(sources.astype({"atom": "int64"}), on="atom", how="left")


def source_row(dictionary_id: str, source: Any, value: float, cells: Sequence[str], lead: str = "") -> Row:
    """An atom's source in its context, coloured by a coefficient, leading to the atom."""
    return Row(
        [
            Token(source.before),
            Token(source.label or "∅", value, is_centre=True),
            Token(source.after),
        ],
        cells,
        href=parts.atom_address(dictionary_id, int(source.atom)),
        lead=lead,
    )


# Two dictionaries


def passage(a_id: str, b_id: str, text: str, chosen: int | None, choose: Choose) -> None:
    """Show one passage decomposed by two dictionaries, aligned by character: A above or left, B below or right.

    Under it stands what each saw that the other did not: in the chosen segment, or in all of the passage.

    Args:
        a_id, b_id: the dictionaries.
        text: the passage.
        chosen: the chosen segment, from 0.
        choose: called with a segment that was clicked, before the page runs again.

    Raises:
        UserError: a model is not here or not the same, or the text cannot be decomposed.
    """
    records = [resources.library().record(each) for each in (a_id, b_id)]
    a, b = (decomposed(record.id, text) for record in records)
    names = parts.dictionary_names()
    segments = align(a, b)
    picked = segments[chosen] if chosen is not None and chosen < len(segments) else None
    groups = [
        Group([pieces(a, segment.a), pieces(b, segment.b)], at, is_chosen=segment is picked)
        for at, segment in enumerate(segments)
    ]
    passage_strip(
        groups,
        key="passages",
        scale=scale_of([*a.error.tolist(), *b.error.tolist()]),
        on_pick=choose,
        names=[f"Above, A: {names[a_id]}", f"Below, B: {names[b_id]}"],
        rest=text[max(a.read, b.read) :][:MOST_UNREAD],
    )
    words = ["Each column holds whole tokens of both."]
    if any(token.row is None for token in (*a.tokens, *b.tokens)):
        words.append("Dotted tokens begin a window and are left out, as by the build.")
    if text[max(a.read, b.read) :].strip():
        words.append("The grey rest was not read.")
    st.caption(" ".join(words))
    show_sights(records, (a, b), picked or Segment(0, len(text), range(len(a.tokens)), range(len(b.tokens))), picked)


def show_sights(
    records: list[DictionaryRecord],
    found: tuple[Decomposition, Decomposition],
    segment: Segment,
    picked: Segment | None,
) -> None:
    """What both saw in a segment and what only one of them did, as sources of terms."""
    where = quoted(found[0].text[segment.start : segment.stop]) if picked else "the whole passage"
    st.subheader(f"What each saw in {inert(where)}")
    if picked is None:
        st.caption("Choose a part of the passage to see what was seen there.")
    tokens = segment.a, segment.b
    sources = [_sources(*side) for side in zip(records, found, tokens, strict=True)]
    keys = _keys(records, [frame["atom"].tolist() for frame in sources])
    seen = sights(segment, *found, *keys)
    if records[0].corpus != records[1].corpus:
        st.caption("The two were built on different texts, so no source of one can be a source of the other.")
    both = [sight for sight in seen if sight.atom_a is not None and sight.atom_b is not None]
    only = [[sight for sight in seen if sight.atom_b is None], [sight for sight in seen if sight.atom_a is None]]
    names = parts.dictionary_names()
    columns = st.columns(2, gap="medium")
    for side, (column, record, letter) in enumerate(zip(columns, records, "AB", strict=True)):
        with column:
            st.text(f"{letter}: {names[record.id]}, {_error_in(found[side], tokens[side])}")
            for title, listed in (("Both saw", both), (f"Only {letter} saw", only[side])):
                _show_list(f"{title}: {len(listed)}", record, sources[side], listed, side)
    table = pd.DataFrame(_sight_rows(seen, sources))
    parts.download(table, key="sights_csv", file="passage-sources.csv")


def _error_in(found: Decomposition, tokens: range) -> str:
    errors = [float(found.error[row]) for at in tokens if (row := found.tokens[at].row) is not None]
    if not errors:
        return "nothing captured"
    return f"{'error' if len(errors) == 1 else 'mean error'} {number(sum(errors) / len(errors))}"


def _show_list(title: str, record: DictionaryRecord, sources: pd.DataFrame, listed: list[Sight], side: int) -> None:
    st.caption(inert(title))
    by_atom = {int(source.atom): source for source in each(sources)}
    rows = []
    for sight in listed[:MOST_LISTED]:
        atom, weight = (sight.atom_a, sight.weight_a) if side == 0 else (sight.atom_b, sight.weight_b)
        if atom is not None:
            rows.append(source_row(record.id, by_atom[atom], weight, [signed(weight, 2)]))
    if rows:
        key = f"sights_{side}_{title.split(':')[0]}"
        token_strip(rows, key=key, columns=["Source", "of |x|"], strongest=1.0, numbers=False)
    if len(listed) > MOST_LISTED:
        st.caption(f"{len(listed) - MOST_LISTED} more are in the download.")


def _sources(record: DictionaryRecord, found: Decomposition, tokens: range) -> pd.DataFrame:
    return resources.index(record.id).sources(atoms_in(found, tokens))


def _keys(records: list[DictionaryRecord], found: list[list[int]]) -> list[dict[int, tuple[int, int]]]:
    """The source of each atom that was found: of twins the same, of any other atom its own."""
    a, b = records
    # Twins here are those of the lists: of several tokens that end at one character, only the last stands for it.
    twins = resources.pair(a, b).twins() if a.corpus == b.corpus else {}
    own = [{atom: (side, atom) for atom in atoms} for side, atoms in enumerate(found)]
    return [own[0], own[1] | {twin: (0, atom) for atom, twin in twins.items() if twin in own[1]}]


def _sight_rows(seen: list[Sight], sources: list[pd.DataFrame]) -> list[dict[str, object]]:
    labels = [frame.set_index("atom") for frame in sources]
    rows = []
    for sight in seen:
        side, atom = (0, sight.atom_a) if sight.atom_a is not None else (1, sight.atom_b)
        source = labels[side].loc[atom]
        rows.append(
            {
                "document": source["document"],
                "position": source["position"],
                "before": source["before"],
                "label": source["label"],
                "after": source["after"],
                "atom_a": sight.atom_a,
                "weight_a": sight.weight_a,
                "atom_b": sight.atom_b,
                "weight_b": sight.weight_b,
            }
        )
    return rows
