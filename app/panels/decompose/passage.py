"""Decompose page: a text's tokens, decomposed by one dictionary."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from app import resources
from app.components.passage_strip import Group, Piece, passage_strip, scale_of
from app.format.text import count, inert
from app.shell import chrome
from app.state import codec
from itda_core.decompose.passages import Decomposition

MOST_UNREAD = 2_000
"""Number of characters shown of a text's unread rest."""
FORGOTTEN = "The text was too long for the URL and is no longer in memory. Paste it again."
"""Shown where a URL names a text that the app no longer has."""
KEPT = "This text is too long for a URL: a link to this page works only while the app runs."
"""Shown with such a text while the app has it."""
Choose = Callable[[int], None]


def addressed(typed: str) -> tuple[str, str]:
    """Return the text and the kept name by which a URL refers to a text.

    One of the two is empty: a text too long for a URL is kept by the app, under that name.
    """
    return (typed, "") if codec.fits_address(typed) else ("", resources.keep_text(typed))


def text_of(text: str, kept: str) -> str | None:
    """Return the text that a URL refers to; None where the app no longer has it."""
    return resources.kept_text(kept) if kept else text


def to_decompose(text: str | None, kept: str) -> str:
    """Return the text to decompose; empty where there is none.

    A note is shown first where the app keeps the text, or no longer has it.
    """
    if text is None:
        st.info(FORGOTTEN)
        return ""
    if kept:
        st.caption(KEPT)
    return text if text.strip() else ""


def decomposed(dictionary_id: str, text: str) -> Decomposition:
    """Decompose a text with a dictionary, with a spinner for as long as it takes.

    Raises UserError.
    """
    name = chrome.dictionary_names().get(dictionary_id, dictionary_id)
    with st.spinner(f"Decomposing with {inert(name)}; the first text of a model also loads it …"):
        return resources.decomposition(dictionary_id, text)


def pieces(found: Decomposition, tokens: range) -> list[Piece]:
    """Return some tokens in the format of the passage strip."""
    return [
        Piece(
            found.shown(at),
            found.label(at),
            None if (row := found.tokens[at].row) is None else float(found.error[row]),
            found.part(at)[0],
        )
        for at in tokens
    ]


def show_tokens(found: Decomposition, chosen: int | None, choose: Choose, usual: float | None) -> None:
    """Show the passage of one dictionary, with selectable tokens.

    The full colour is twice the error that is `usual` for the dictionary, so that texts can be compared.
    """
    groups = [
        Group([[piece]], None if piece.error is None else at, is_chosen=at == chosen)
        for at, piece in enumerate(pieces(found, range(len(found.tokens))))
    ]
    scale = scale_of(found.error.tolist() if usual is None else [2 * usual])
    passage_strip(groups, key="passage", scale=scale, on_pick=choose, names=[""], rest=unread([found]))
    show_notes([found])


def unread(found: Sequence[Decomposition]) -> str:
    """Return the rest of a text that no decomposition read, shortened for display."""
    rest = _rest(found)
    return rest if len(rest) <= MOST_UNREAD else rest[:MOST_UNREAD] + " …"


def show_notes(found: Sequence[Decomposition]) -> None:
    """Show notes on how a text was read, by one dictionary or by A and B."""
    words = ["Columns are aligned at token boundaries of both."] if len(found) > 1 else []
    if any(token.row is None for one in found for token in one.tokens):
        words.append("Dotted tokens are the first of a window (attention sinks) and are not captured.")
    windows = [one.windows for one in found]
    if max(windows) > 1:
        words.append(f"The text was read in {_of_each(windows)} windows, without context across them.")
    if any(not one.shown(at) for one in found for at in range(len(one.tokens))):
        words.append("·2 and ·3 mark the second and third token of one character.")
    first = f"the first {_of_each([len(one.tokens) for one in found])} tokens"
    if rest := _rest(found).strip():
        words.append(f"Only {first} were read; the other {count(len(rest))} characters are grey.")
    elif any(one.text[one.read :].strip() for one in found):
        words.append(f"Only {first} were read: the last columns have tokens of one side only.")
    if words:
        st.caption(" ".join(words))


def _rest(found: Sequence[Decomposition]) -> str:
    return found[0].text[max(one.read for one in found) :]


def _of_each(numbers: Sequence[int]) -> str:
    """Format a number of one dictionary, or of A and of B; equal numbers appear once."""
    if len(set(numbers)) == 1:
        return count(numbers[0])
    return " and ".join(f"{count(one)} ({letter})" for letter, one in zip("AB", numbers, strict=True))


def terms_table(dictionary_id: str, found: Decomposition, tokens: Sequence[int]) -> pd.DataFrame:
    """Return the terms of some captured tokens, with the sources of their atoms.

    A row is a term. Columns: token, text, start, stop, norm, error, term (from 1), coefficient, left (error with the
    terms up to this one), atom, document, position, label, before, after.
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
