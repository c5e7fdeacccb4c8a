"""A text as dictionaries decompose it: its tokens, the terms of one, and one passage decomposed by two dictionaries."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import parts, resources, state
from app.components.passage_strip import Group, Piece, passage_strip, scale_of
from app.components.token_strip import Row, Token, token_strip
from app.pair_rows import match_address
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
    passage_strip(groups, key="passage", scale=scale, on_pick=choose, names=[""], rest=unread([found]))
    show_notes([found])


def unread(found: Sequence[Decomposition]) -> str:
    """The rest of a text, which none of its decompositions read, as much of it as is shown."""
    rest = _rest(found)
    return rest if len(rest) <= MOST_UNREAD else rest[:MOST_UNREAD] + " …"


def show_notes(found: Sequence[Decomposition]) -> None:
    """What has to be said of how a text was read: by one dictionary, or by A and B."""
    words = ["Each column holds whole tokens of both."] if len(found) > 1 else []
    if any(token.row is None for one in found for token in one.tokens):
        words.append("Dotted tokens begin a window, where attention sinks; like the build, this leaves them out.")
    windows = [one.windows for one in found]
    if max(windows) > 1:
        words.append(f"The text was read in {_of_each(windows)} windows, and a model starts anew at each.")
    if any(not one.shown(at) for one in found for at in range(len(one.tokens))):
        words.append("·2 and ·3 are the second and third token of the character before them.")
    first = f"the first {_of_each([len(one.tokens) for one in found])} tokens"
    if rest := _rest(found).strip():
        words.append(f"Read are {first}; the grey rest, {count(len(rest))} characters, was not.")
    elif any(one.text[one.read :].strip() for one in found):
        words.append(f"Read are {first}: the last columns hold tokens of one side alone.")
    if words:
        st.caption(" ".join(words))


def _rest(found: Sequence[Decomposition]) -> str:
    return found[0].text[max(one.read for one in found) :]


def _of_each(numbers: Sequence[int]) -> str:
    """A number of one dictionary, or of A and of B, said once where they are alike."""
    if len(set(numbers)) == 1:
        return count(numbers[0])
    return " and ".join(f"{count(one)} ({letter})" for letter, one in zip("AB", numbers, strict=True))


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


def source_row(
    dictionary_id: str,
    source: Any,
    value: float,
    cells: Sequence[str],
    lead: str = "",
    links: Sequence[tuple[str, str, str]] = (),
) -> Row:
    """An atom's source in its context, coloured by a coefficient, leading to the atom and by `links` further."""
    return Row(
        [
            Token(source.before),
            Token(source.label or "∅", value, is_centre=True),
            Token(source.after),
        ],
        cells,
        href=parts.atom_address(dictionary_id, int(source.atom)),
        lead=lead,
        links=links,
    )


# Two dictionaries


def passage(shown: state.CompareState, text: str, choose: Choose) -> None:
    """Show one passage decomposed by two dictionaries, aligned by character: A above or left, B below or right.

    Under it stands what each saw that the other did not: in the chosen segment, or in all of the passage.

    Args:
        shown: the dictionaries, and the chosen segment.
        text: the passage.
        choose: called with a segment that was clicked, before the page runs again.

    Raises:
        UserError: a model is not here or not the same, or the text cannot be decomposed.
    """
    records = [resources.library().record(one) for one in (shown.a, shown.b)]
    a, b = found = tuple(decomposed(record.id, text) for record in records)
    names = parts.dictionary_names()
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
    shown: state.CompareState,
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
    keys = _keys(records, [list(side) for side in sources])
    seen = sights(segment, *found, *keys)
    both = [sight for sight in seen if sight.atom_a is not None and sight.atom_b is not None]
    only = [[sight for sight in seen if sight.atom_b is None], [sight for sight in seen if sight.atom_a is None]]
    names = parts.dictionary_names()
    columns = st.columns(2, gap="medium")
    for side, (column, record, letter) in enumerate(zip(columns, records, "AB", strict=True)):
        with column:
            st.text(f"{letter}: {names[record.id]}, {_error_in(found[side], tokens[side])}")
            _show_list(f"Both saw: {len(both)}", shown, record, sources[side], both, side)
            _show_list(f"Only {letter} saw: {len(only[side])}", shown, record, sources[side], only[side], side)
    parts.download(lambda: _sights_table(seen, sources), key="sights_csv", file="passage-sources.csv")


def _error_in(found: Decomposition, tokens: range) -> str:
    errors = [float(found.error[row]) for at in tokens if (row := found.tokens[at].row) is not None]
    if not errors:
        return "nothing captured"
    return f"{'error' if len(errors) == 1 else 'mean error'} {number(sum(errors) / len(errors))}"


def _show_list(
    title: str,
    shown: state.CompareState,
    record: DictionaryRecord,
    sources: dict[int, Any],
    listed: list[Sight],
    side: int,
) -> None:
    st.caption(inert(title))
    rows = []
    for sight in listed[:MOST_LISTED]:
        atom, weight = (sight.atom_a, sight.weight_a) if side == 0 else (sight.atom_b, sight.weight_b)
        if atom is not None:
            # What only one of them saw may have its answer on the other side all the same: a twin or a best match.
            is_alone = sight.atom_a is None or sight.atom_b is None
            links = [("what answers it", match_address(shown, sight.atom_a, sight.atom_b), "")] if is_alone else []
            rows.append(source_row(record.id, sources[atom], weight, [signed(weight, 2)], links=links))
    if rows:
        key = f"sights_{side}_{title.split(':')[0]}"
        columns = ["Source", "of |x|", *(["pages"] if rows[0].links else [])]
        token_strip(rows, key=key, columns=columns, strongest=1.0, numbers=False)
    if len(listed) > MOST_LISTED:
        st.caption(f"{len(listed) - MOST_LISTED} more are in the download.")


def _sources(record: DictionaryRecord, found: Decomposition, tokens: range) -> dict[int, Any]:
    """The rows of `Index.sources` by atom."""
    return {int(source.atom): source for source in each(resources.index(record.id).sources(atoms_in(found, tokens)))}


def _keys(records: list[DictionaryRecord], found: list[list[int]]) -> list[dict[int, tuple[int, int]]]:
    """The source of each atom that was found: of twins the same, of any other atom its own."""
    a, b = records
    # Twins here are those of the lists: of several tokens that end at one character, only the last stands for it.
    twins = resources.pair(a, b).twins()
    own = [{atom: (side, atom) for atom in atoms} for side, atoms in enumerate(found)]
    return [own[0], own[1] | {twin: (0, atom) for atom, twin in twins.items() if twin in own[1]}]


def _sights_table(seen: list[Sight], sources: list[dict[int, Any]]) -> pd.DataFrame:
    """Columns: document, position, before, label, after, atom_a, weight_a, atom_b, weight_b."""
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
