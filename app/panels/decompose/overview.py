"""Decompose page: tables of all tokens and of all atoms of a text."""

import pandas as pd
import streamlit as st

from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, number, visible
from app.panels.decompose.passage import terms_table
from app.shell import urls, widgets
from itda_core.decompose.passages import Decomposition
from itda_core.library.manifest import DictionaryManifest

_MOST_ATOMS = 30


def show_overview(record: DictionaryManifest, found: Decomposition) -> None:
    """Show the tokens by their errors, and the atoms by what they contribute; each is computed once it is opened."""
    captured = [at for at, token in enumerate(found.tokens) if token.row is not None]
    tokens = st.expander("All tokens, by error", icon=":material/table_rows:", key="all_tokens", on_change="rerun")
    if tokens.open:
        with tokens:
            table = tokens_table(found, captured)
            st.dataframe(table.assign(text=table["text"].map(visible)), hide_index=True, height=320)
    atoms = st.expander("Atoms of the whole text", icon=":material/list:", key="all_atoms", on_change="rerun")
    if atoms.open:
        with atoms:
            show_atoms(record, atoms_table(terms_table(record.id, found, captured)))


def tokens_table(found: Decomposition, captured: list[int]) -> pd.DataFrame:
    """Return the captured tokens of a text, the largest error first.

    Columns: token, text, error (share of |x|²), norm, atoms (number of terms), largest (absolute coefficient).
    """
    rows = []
    for at in captured:
        terms, row = found.terms_of(at), found.tokens[at].row
        largest = max(map(abs, terms.coefficient.tolist()), default=None)
        rows.append((at, found.label(at), float(found.error[row]), float(found.norm[row]), len(terms.atom), largest))
    table = pd.DataFrame(rows, columns=["token", "text", "error", "norm", "atoms", "largest"])
    return table.sort_values("error", ascending=False, kind="stable", ignore_index=True)


def atoms_table(terms: pd.DataFrame) -> pd.DataFrame:
    """Return the atoms of a text, the largest sum of absolute coefficients first.

    Columns: atom, label, before, after (its source), tokens (number of tokens with it), weight (the sum), strongest
    (largest absolute coefficient), at (the token that has it).

    Args:
        terms: `terms_table` of all tokens.
    """
    sized = terms.assign(size=terms["coefficient"].abs()).sort_values("size", ascending=False, kind="stable")
    groups = sized.groupby("atom", sort=False)
    table = groups.agg(
        label=("label", "first"),
        before=("before", "first"),
        after=("after", "first"),
        tokens=("token", "nunique"),
        weight=("size", "sum"),
        strongest=("size", "first"),
        at=("text", "first"),
    ).reset_index()
    return table.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def show_atoms(record: DictionaryManifest, table: pd.DataFrame) -> None:
    """Show the atoms that contribute most to a text."""
    st.caption(
        f"{count(len(table))} atoms; those with the largest sums of absolute coefficients over the text, with the "
        "number of its tokens that they are in, and the token where they are strongest."
    )
    rows = [
        Row(
            [Token(row.before), Token(row.label or "∅", is_centre=True), Token(row.after)],
            [number(row.weight), count(row.tokens), number(row.strongest), row.at],
            href=urls.atom_address(record.id, int(row.atom)),
            lead=str(row.atom),
        )
        for row in each(table.head(_MOST_ATOMS))
    ]
    columns = ["Source of the atom", "sum", "tokens", "strongest", "on"]
    token_strip(rows, key="text_atoms", columns=columns)
    widgets.download(table, key="text_atoms_csv", file="text-atoms.csv", label="All as CSV")
