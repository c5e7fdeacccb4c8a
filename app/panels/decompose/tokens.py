"""Decompose page: the text's tokens, and one token's terms."""

from functools import partial

import streamlit as st

from app.charts import atoms
from app.components.token_strip import Row, Token, token_strip
from app.format.tables import each
from app.format.text import count, inert, number, quoted, signed
from app.panels.compare.passage import source_row
from app.panels.decompose.address import go
from app.panels.decompose.passage import show_tokens, terms_table
from app.shell import widgets
from itda_core.decompose.passages import Decomposition
from itda_core.library.manifest import DictionaryManifest


def show_passage(record: DictionaryManifest, found: Decomposition, chosen: int | None) -> None:
    """Show the text token by token, previous and next token, and the download."""
    captured = [at for at, token in enumerate(found.tokens) if token.row is not None]
    before = [at for at in captured if chosen is not None and at < chosen]
    after = [at for at in captured if chosen is None or at > chosen]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Tokens", width="content")
        st.space("stretch")
        st.button(
            "Previous",
            shortcut="Left",
            icon=":material/chevron_left:",
            disabled=not before,
            on_click=partial(go, token=before[-1] if before else None),
        )
        st.button(
            "Next",
            shortcut="Right",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=not after,
            on_click=partial(go, token=after[0] if after else None),
        )
    show_tokens(found, chosen, lambda at: go(token=at), record.relative_error)
    if not captured:
        st.text("Nothing to decompose: the first token of a window is not captured. Enter a longer text.")
        return
    threshold = record.settings.threshold
    words = [f"{count(len(captured))} tokens, mean error {number(float(found.error.mean()))}."]
    if record.settings.error == "relative":
        over = int((found.error > threshold * found.left_by_mean).sum())  # of what the mean leaves
        words.append(f"{count(over)} above the build's threshold of {threshold:.4g}.")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(" ".join(words))
        widgets.download(
            lambda: terms_table(record.id, found, captured),
            key="decomposition_csv",
            file="decomposition.csv",
            label="All terms as CSV",
        )


def show_token(record: DictionaryManifest, found: Decomposition, chosen: int) -> None:
    """Show one token: x as a sum of atoms and the residual."""
    token, label = found.tokens[chosen], found.label(chosen)
    part, n_parts = found.part(chosen)
    if token.row is None:
        st.subheader(f"Token {chosen}, {inert(quoted(label))}")
        st.text("The first token of a window is not captured, so it has no terms. Choose another token.")
        return
    which = f", part {part} of {n_parts} of the character" if n_parts > 1 else ""
    st.subheader(f"Token {chosen}, {inert(quoted(label))}{which}")
    terms = terms_table(record.id, found, [chosen])
    norm, error = float(found.norm[token.row]), float(found.error[token.row])
    left, right = st.columns([3, 2], gap="large")
    with left:
        summed = f"{len(terms)} atoms times their coefficients and the residual"
        if found.mean is not None:
            summed = f"the mean activation, {summed}"
        st.caption(f"x, with norm {number(norm)}, is the sum of {summed}. Click an atom to see where it fires.")
        strongest = max(map(abs, terms["coefficient"].tolist()), default=None)
        rows = [
            source_row(
                record.id,
                term,
                term.coefficient,
                [str(term.atom), signed(term.coefficient), number(term.left)],
                str(term.term),
            )
            for term in each(terms)
        ]
        left_by_mean = float(found.left_by_mean[token.row])
        if found.mean is not None:
            rows.insert(0, Row([Token(f"   mean, norm {number(found.mean)}")], ["", "", number(left_by_mean)]))
        rows.append(Row([Token(f"   residual, norm {number(norm * error**0.5)}")], ["", "", number(error)]))
        token_strip(
            rows,
            key="terms",
            columns=["Source of the atom", "atom", "coefficient", "error left"],
            strongest=strongest,
            numbers=False,
        )
    with right:
        with st.grid(2, min_column_width=130):
            st.metric("Error", number(error), border=True, help="Share of |x|² in the residual")
            st.metric("Norm of x", number(norm), border=True, help="In the model's own units")
        widgets.figure(
            atoms.falling_error(terms, None if found.mean is None else left_by_mean),
            terms.drop(columns=["text", "start", "stop"]),
            key="falling",
            alt=f"Reconstruction error of token {chosen} after each term; the list beside it has the same",
            file=f"token-{chosen}-terms.csv",
        )
