"""Atoms page: atoms as rows of a token strip, with what a search matched."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from app.components.token_strip import Row, Token
from app.format.tables import each
from app.format.text import number, share
from app.panels.atoms.address import atom_address
from app.state import pages
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index
from itda_core.queries.search import words_of


def rows_of(record: DictionaryManifest, shown: pages.AtomsState, index: Index, listed: pd.DataFrame) -> list[Row]:
    """Return some atoms of `Index.matching` as rows: a passage, then numbers.

    The passage is the example that matched, where contexts are searched, and the atom's source otherwise.
    """
    atoms = index.rows(listed["atom"].tolist())
    examples = {int(row.atom): int(row.example) for row in each(listed) if row.example >= 0}
    around = {row.token: row for row in each(index.surroundings(list(examples.values())))} if examples else {}
    return [row_of(record, shown, atom, around.get(examples.get(atom.atom), atom)) for atom in each(atoms)]


def row_of(record: DictionaryManifest, shown: pages.AtomsState, atom: Any, passage: Any) -> Row:
    """Return an atom as a row with a passage: the texts before, label, and after."""
    before, label, after = Token(passage.before), Token(passage.label or "∅", is_centre=True), Token(passage.after)
    words = words_of(shown.text)
    if shown.scope == "token":
        tokens = [before, *marked([label], words), after]
    else:
        tokens = marked([before, label, after], words)
    is_massive = record.norms is not None and int(atom.atom) in record.norms.atoms
    return Row(
        tokens,
        [share(atom.density), number(atom.strongest), number(atom.admission_error)],
        href=atom_address(shown, int(atom.atom)),
        lead=str(atom.atom),
        note="massive activation" if is_massive else "",
    )


def marked(tokens: Sequence[Token], words: Sequence[str]) -> list[Token]:
    """Return a passage with some words marked.

    A token is split at the ends of a match, except the centre, which is marked as a whole.
    """
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    text = "".join(token.text for token in tokens)
    matches = [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)] if words else []
    parts, start = [], 0
    for token in tokens:
        stop = start + len(token.text)
        inside = {end for match in matches for end in match if start < end < stop and not token.is_centre}
        edges = [start, *sorted(inside), stop]
        for first, last in pairwise(edges):
            is_match = any(low < last and first < high for low, high in matches)
            parts.append(token._replace(text=text[first:last], is_match=is_match))
        start = stop
    return parts
