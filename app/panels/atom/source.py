"""Atom page: the atom's source, in its document."""

import streamlit as st

from app import resources
from app.components.token_strip import Row, Token, token_strip
from app.format.text import count, visible
from app.panels.token_rows import tokens_of
from app.shell import chrome, urls, widgets
from app.state import codec, pages
from itda_core.common.norms import MASSIVE
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Atom, Index

MOST_SHOWN = 2_000  # tokens of a document shown at once; more would make the browser slow
MOST_UNREAD = 20_000  # characters shown of the text that the model did not read


def show_source(record: DictionaryManifest, atom: Atom, index: Index) -> None:
    """Show the atom's source passage and its document."""
    st.subheader("Source")
    if not atom.has_source:
        st.text("It is not known which text this atom came from.")
        return
    with st.container(border=True):
        passage = index.passages([atom.token], atom.atom)[atom.token]
        token_strip([Row(tokens_of(passage, atom.token))], key="source", style="passage", strongest=atom.strongest)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{visible(atom.document_name)}, token {atom.position}")
            st.space("stretch")
            source = "".join(passage["text"])
            address = urls.decompose_address(record.id, source if codec.fits_address(source) else "")
            widgets.link("Decompose this passage", address, "function", key="decompose")
            if st.button("Whole document", icon=":material/article:", type="tertiary"):
                show_document(atom.atom, atom.token)
    if record.norms is not None and atom.atom in record.norms.atoms:
        st.caption(
            f"The activation at this token is more than {MASSIVE:g} times as long as the median one, as those of "
            "attention sinks are: the atom may have more to do with the place than with the text."
        )


def show_document(atom: int, token: int) -> None:
    """Open a token's document at that token."""
    st.session_state.pop("document_first", None)
    show_document_part(atom, token)


@st.dialog("Whole document", width="large")
def show_document_part(atom: int, token: int) -> None:
    """Show a part of a token's document in a dialog.

    Earlier and Later rerun only the dialog, not the page around it.
    """
    with chrome.errors_shown():
        show_part(atom, token)


def show_part(atom: int, token: int) -> None:
    """Show a part of a token's document, coloured by one atom's coefficients.

    The token is marked, and text that was not read is grey. The part is centred on the token until Earlier or Later is
    clicked.
    """
    shown = codec.decode(pages.AtomState, st.query_params)
    index = resources.index(shown.dictionary)
    passage = index.passages([token], atom, radius=0)[token]
    document = index.document(int(passage["document"].iloc[0]), atom)
    st.text(visible(passage["name"].iloc[0]))
    is_read = document["token"].notna()
    read, rest = document.loc[is_read, :], "".join(document.loc[~is_read, "text"])
    last_first = max(0, len(read) - MOST_SHOWN)
    around = int((read["token"] < token).sum()) - MOST_SHOWN // 2
    first = min(max(0, int(st.session_state.get("document_first", around))), last_first)
    part = read.iloc[first : first + MOST_SHOWN]
    words = [
        "Coloured where the atom fires; point at a token, tap it or go to it with Tab for its coefficient.",
        f"Tokens {count(part['position'].iloc[0])} to {count(part['position'].iloc[-1])} of {count(len(read))}.",
    ]
    tokens = tokens_of(part, token)
    if rest and first == last_first:
        tokens.append(Token(rest[:MOST_UNREAD], is_unread=True))
        words.append("The grey rest was not read by the model.")
        if len(rest) > MOST_UNREAD:
            words.append(f"Of its {count(len(rest))} characters the first {count(MOST_UNREAD)} are shown.")
    st.caption(" ".join(words))
    if last_first:
        with st.container(horizontal=True):
            for name, to, is_end in (
                ("Earlier", first - MOST_SHOWN, first == 0),
                ("Later", first + MOST_SHOWN, first == last_first),
            ):
                st.button(
                    name, disabled=is_end, on_click=st.session_state.__setitem__, args=("document_first", to), key=name
                )
    # One colour scale for all parts.
    strongest = max(map(abs, document["coefficient"].dropna().tolist()), default=None)
    token_strip([Row(tokens)], key="document", style="document", strongest=strongest)
