"""Form for the user's own text."""

from collections.abc import Callable
from typing import Any, Literal

import streamlit as st

from app.panels.decompose.passage import addressed
from itda_core.decompose.passages import MOST_CHARACTERS


def show_text_form(
    name: str,
    text: str,
    go: Callable[..., None],
    fields: tuple[str, str],
    *,
    placeholder: str,
    kind: Literal["primary", "secondary"] = "secondary",
    **unset: Any,
) -> None:
    """Show a text field and its button; nothing runs before the button is clicked.

    What was typed and not submitted is overwritten only where the URL has another text.

    Args:
        name: key of the text field.
        text: the text in the URL.
        go: changes the page's state.
        fields: names of the fields for the text and for the name under which a long one is kept.
        placeholder: shown in the empty field.
        kind: appearance of the button.
        unset: further changes of the state with a new text.
    """
    shown, empty = f"{name}_shown", f"{name}_empty"
    if st.session_state.get(shown) != text or name not in st.session_state:
        st.session_state[name], st.session_state[shown] = text, text

    def submitted() -> None:
        typed = st.session_state[name]
        st.session_state[empty] = not typed.strip()
        if typed.strip():
            go(**dict(zip(fields, addressed(typed), strict=True)), **unset)

    with st.form(f"{name}_form", border=False):
        st.text_area(
            "Text",
            key=name,
            height=100,
            max_chars=MOST_CHARACTERS,
            placeholder=placeholder,
            label_visibility="collapsed",
        )
        st.form_submit_button("Decompose", type=kind, icon=":material/function:", on_click=submitted)
    if st.session_state.pop(empty, False):
        st.warning("The text is empty: type or paste some first.", icon=":material/edit:")
