"""The reader's own text, decomposed: how well each token is reconstructed, and what it is made of."""

from functools import partial
from typing import Any

import streamlit as st

from app import figures, parts, resources, state
from app.components.token_strip import Row, Token, token_strip
from app.passage import addressed, decomposed, show_tokens, source_row, terms_table, text_of, to_decompose
from app.tables import each
from app.text import count, inert, number, quoted, signed, visible
from itda_core.library import DictionaryRecord
from itda_core.passages import MOST_CHARACTERS, Decomposition
from itda_core.types import UserError


def go(**changes: Any) -> None:
    """Change what the page shows."""
    parts.change(state.DecomposeState, **changes)


def show_header(record: DictionaryRecord) -> None:
    """Which dictionary decomposes, the way back, and what this page is."""
    names = parts.dictionary_names()
    parts.dictionary_link(record.id, names[record.id], icon="arrow_back")
    st.title("Decompose a text")
    st.set_page_config(page_title=f"Decompose, {visible(names[record.id])}")
    st.caption(
        "The activation at each token is written as a short weighted sum of atoms, which are activations of other "
        "texts, and a residual that no atom says."
    )

    def changed() -> None:
        chosen = st.session_state["decompose_dictionary"]
        # Another tokenizer's token of that number is another place in the text. The dictionary may be gone by now.
        tokenizers = {one.id: one.tokenizer_sha256 for one in parts.sound_records()}
        is_same = tokenizers.get(chosen) == record.tokenizer_sha256
        go(dictionary=chosen, **({} if is_same else {"token": None}))

    st.session_state["decompose_dictionary"] = record.id
    st.selectbox(
        "Dictionary",
        list(names),
        format_func=names.__getitem__,
        key="decompose_dictionary",
        on_change=changed,
    )


def show_form(text: str) -> None:
    """Where the text is typed; nothing runs before its button is clicked."""

    def submitted() -> None:
        text, kept = addressed(st.session_state["decompose_text"])
        go(text=text, kept=kept, token=None)

    st.session_state["decompose_text"] = text
    with st.form("decompose", border=False):
        st.text_area(
            "Text",
            key="decompose_text",
            height=110,
            max_chars=MOST_CHARACTERS,
            placeholder="Any text, in any script; code too",
        )
        st.form_submit_button("Decompose", type="primary", icon=":material/function:", on_click=submitted)


def show_passage(record: DictionaryRecord, found: Decomposition, chosen: int | None) -> None:
    """The text token by token, steps between tokens, and the data of all of them."""
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
    show_tokens(found, chosen, lambda at: go(token=at))
    if not captured:
        st.text("Nothing to decompose: a window's first token is left out, and there is no other. Type a longer text.")
        return
    threshold = record.settings.threshold
    words = [f"{count(len(captured))} tokens, mean error {number(float(found.error.mean()))}."]
    if record.settings.error == "relative":
        over = int((found.error > threshold).sum())
        words.append(
            f"{count(over)} over {threshold:g}, the threshold over which the build made an activation an atom."
        )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(" ".join(words))
        parts.download(
            lambda: terms_table(record.id, found, captured),
            key="decomposition_csv",
            file="decomposition.csv",
            label="All terms as CSV",
        )


def show_token(record: DictionaryRecord, found: Decomposition, chosen: int) -> None:
    """One token: x as a sum of atoms and the residual."""
    token, label = found.tokens[chosen], found.label(chosen)
    part, n_parts = found.part(chosen)
    if token.row is None:
        st.subheader(f"Token {chosen}, {inert(quoted(label))}")
        st.text("The first token of a window is not captured, so it has no terms. Choose another one.")
        return
    which = f", part {part} of {n_parts} of the character" if n_parts > 1 else ""
    st.subheader(f"Token {chosen}, {inert(quoted(label))}{which}")
    terms = terms_table(record.id, found, [chosen])
    norm, error = float(found.norm[token.row]), float(found.error[token.row])
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.caption(
            f"x, of length {number(norm)}, is the sum of these {len(terms)} atoms, each times its coefficient, and the "
            "residual. An atom is shown as its source; click it for where else it fires."
        )
        strongest = max(map(abs, terms["coefficient"].tolist()), default=None)
        rows = [
            source_row(record.id, term, term.coefficient, [signed(term.coefficient), number(term.left)], str(term.term))
            for term in each(terms)
        ]
        rows.append(Row([Token(f"   residual, of length {number(norm * error**0.5)}")], ["", number(error)]))
        token_strip(
            rows,
            key="terms",
            columns=["Source of the atom", "coefficient", "error left"],
            strongest=strongest,
            numbers=False,
        )
    with right:
        with st.grid(2, min_column_width=130):
            st.metric("Error", number(error), border=True, help="Share of |x|² that is left to the residual")
            st.metric("Length of x", number(norm), border=True, help="In the model's own units, as the coefficients")
        st.caption("How the error falls, term by term")
        parts.figure(
            figures.falling_error(terms),
            terms.drop(columns=["text", "start", "stop"]),
            key="falling",
            alt=f"Reconstruction error of token {chosen} after each term; the list beside it has the same",
            file=f"token-{chosen}-terms.csv",
        )


def show_decompose() -> None:
    """The whole page."""
    shown = state.decode(state.DecomposeState, st.query_params)
    if not shown.dictionary:
        st.title("Decompose a text")
        st.text("Choose the dictionary to decompose it with.")
        parts.other_dictionaries(parts.decompose_address)
        return
    record = resources.library().record(shown.dictionary)
    show_header(record)
    text = text_of(shown.text, shown.kept)
    show_form(text or "")
    text = to_decompose(text, shown.kept)
    if not text:
        return
    try:
        found = decomposed(record.id, text)
    except UserError as error:
        parts.show_error(error)
        return
    chosen = shown.token
    if chosen is not None and chosen >= len(found.tokens):
        parts.show_error(UserError(f"there is no token {chosen}: this text has tokens 0 to {len(found.tokens) - 1}"))
        chosen = None
    show_passage(record, found, chosen)
    if chosen is not None:
        show_token(record, found, chosen)
    elif len(found.norm):
        st.text("Click a token, or press →, to see what it is made of.")


with parts.errors_shown():
    show_decompose()
