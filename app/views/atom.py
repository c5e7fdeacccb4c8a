"""One atom: where it came from, where it fires, what it stands for, and which atoms are like it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from urllib.parse import urlencode, urlsplit, urlunsplit

import pandas as pd
import streamlit as st

from app import figures, label, parts, resources, state
from app.components.token_strip import Row, Token, token_strip
from app.passage_tokens import tokens_of
from app.tables import each
from app.text import count, inert, number, share, visible
from itda_core.library import DictionaryRecord
from itda_core.queries import INTERVALS, Atom, Index
from itda_core.types import DamagedError, UserError

VERDICTS = {
    "holds": partial(st.badge, "The label holds", color="green"),
    "in part": partial(st.badge, "The label holds in part", color="orange"),
    "token before": partial(st.badge, "The token before explains it better", color="orange"),
    "misleads": partial(st.badge, "The label misleads", color="red"),
    "untested": partial(st.badge, "The label cannot be checked", color="gray"),
}
MOST_DOWNLOADED = 100_000
MOST_SHOWN = 2_000  # tokens of a document at once; more would make the browser slow
MOST_UNREAD = 20_000  # characters of what the model did not read of it


def step(dictionary_id: str, atom: int) -> None:
    """Go to another atom of the same dictionary."""
    st.query_params.from_dict(state.encode(state.AtomState(dictionary_id, atom)))


def show_header(record: DictionaryRecord, atom: Atom, index: Index) -> None:
    """Which atom this is, the way back, the neighbours in order, and the link to keep."""
    with st.container(horizontal=True, vertical_alignment="center"):
        parts.dictionary_link(record.id, parts.dictionary_names()[record.id], icon="arrow_back")
        st.space("stretch")
        st.button(
            "Previous",
            shortcut="Left",
            icon=":material/chevron_left:",
            disabled=atom.atom == 0,
            on_click=step,
            args=(record.id, atom.atom - 1),
        )
        st.button(
            "Next",
            shortcut="Right",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=atom.atom == index.n_atoms - 1,
            on_click=step,
            args=(record.id, atom.atom + 1),
        )
        show_downloads(record, atom, index)
    st.title(f"Atom {atom.atom}")
    st.set_page_config(page_title=f"Atom {atom.atom}, {visible(parts.dictionary_names()[record.id])}")


def show_downloads(record: DictionaryRecord, atom: Atom, index: Index) -> None:
    """The link to this atom, and its data."""

    def as_json() -> str:
        fired = index.activations(atom.atom, MOST_DOWNLOADED).to_dict("records")
        return json.dumps({"dictionary": record.id, **asdict(atom), "activations": fired}, ensure_ascii=False, indent=1)

    with st.popover("Link and data", icon=":material/share:"):
        st.caption("Permanent link")
        st.code(permanent_link(record.id, atom.atom), language=None, wrap_lines=True)
        st.caption(f"Every token it fires on, with document, position and coefficient ({MOST_DOWNLOADED:,} at most)")
        parts.download(
            lambda: index.activations(atom.atom, MOST_DOWNLOADED),
            key="activations_csv",
            file=f"{record.id}-atom-{atom.atom}.csv",
            label="Activations as CSV",
        )
        st.download_button(
            "Activations as JSON",
            as_json,
            file_name=f"{record.id}-atom-{atom.atom}.json",
            mime="application/json",
            type="tertiary",
            icon=":material/download:",
            on_click="ignore",
        )


def permanent_link(dictionary_id: str, atom: int) -> str:
    """The address of an atom, whole."""
    query = urlencode(state.encode(state.AtomState(dictionary_id, atom)))
    here = urlsplit(st.context.url or "")
    folder = here.path.rsplit("/atom", 1)[0]
    return urlunsplit((here.scheme, here.netloc, f"{folder}/atom", query, ""))


def show_source(dictionary_id: str, atom: Atom, index: Index) -> None:
    """The passage that the atom is, large, and its document."""
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
            address = parts.decompose_address(dictionary_id, source if state.fits_address(source) else "")
            parts.link("Decompose this passage", address, "function", key="decompose")
            if st.button("Whole document", icon=":material/article:", type="tertiary"):
                show_document(atom.atom, atom.token)


def show_document(atom: int, token: int) -> None:
    """Open the document of a token where the token is."""
    st.session_state.pop("document_first", None)
    show_document_part(atom, token)


@st.dialog("Whole document", width="large")
def show_document_part(atom: int, token: int) -> None:
    """A part of a token's document; it runs anew by itself, without the page around it, at Earlier and Later."""
    with parts.errors_shown():
        show_part(atom, token)


def show_part(atom: int, token: int) -> None:
    """A part of a token's document, that token marked, coloured by one atom's coefficients; what was not read is grey.

    The part is the one around the token until Earlier or Later is clicked.
    """
    shown = state.decode(state.AtomState, st.query_params)
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
    # One scale for all parts.
    strongest = max(map(abs, document["coefficient"].dropna().tolist()), default=None)
    token_strip([Row(tokens)], key="document", style="document", strongest=strongest)


def show_figures(atom: Atom, record: DictionaryRecord) -> None:
    """The atom's numbers."""
    with st.grid(4, min_column_width=150):
        st.metric("Fires on", f"{count(atom.count)} tokens", border=True, help="Captured tokens with a coefficient")
        st.metric("Share of tokens", share(atom.density), border=True)
        st.metric(
            "Strongest",
            number(atom.strongest),
            border=True,
            help="Largest absolute coefficient. Atoms have length 1, so it is a length in the model's own units.",
        )
        st.metric(
            "Error when admitted",
            number(atom.admission_error),
            border=True,
            help="What the dictionary could not yet say of this activation when it came by, "
            + ("as a share of its length squared" if record.settings.error == "relative" else "in the build's unit")
            + ". – for an atom that was taken without being judged by its error.",
        )


def show_relatives(record: DictionaryRecord, atom: Atom, index: Index) -> None:
    """Atoms like this one: in direction, in where they fire, and in where they came from."""
    st.subheader("Nearest")
    st.caption("Most alike in direction: cosine")
    near = index.neighbours(atom.atom)
    token_strip(atom_rows(record.id, near, ["cosine"]), key="nearest")
    st.subheader("Fires together with")
    together = index.cofiring(atom.atom)
    if together.empty:
        st.caption("No other atom fires on the same tokens.")
    else:
        st.caption("Jaccard: tokens with both, of those with either. Lift: how many times more often than by chance")
        columns = ["Atom", "jaccard", "lift"]
        token_strip(atom_rows(record.id, together, ["jaccard", "lift"]), key="together", columns=columns)
    show_elsewhere(record, atom)


def atom_rows(dictionary_id: str, atoms: pd.DataFrame, columns: Sequence[str]) -> list[Row]:
    """Other atoms as lines."""
    return [
        Row(
            [Token(row.before), Token(row.label or "∅", is_centre=True), Token(row.after)],
            [number(getattr(row, column), 2) for column in columns],
            href=parts.atom_address(dictionary_id, int(row.atom)),
        )
        for row in each(atoms)
    ]


def show_elsewhere(record: DictionaryRecord, atom: Atom) -> None:
    """Dictionaries that chose the same token as a source. Positions mean the same where corpus and tokenizer do."""
    others = [
        other
        for other in resources.records()
        if isinstance(other, DictionaryRecord)
        and other.id != record.id
        and (other.corpus, other.tokenizer_sha256) == (record.corpus, record.tokenizer_sha256)
    ]
    st.subheader("Same source elsewhere")
    if not atom.has_source:
        st.caption("Its source is not known.")
        return
    if not others:
        st.caption("No other dictionary here has the same corpus and tokenizer.")
        return
    names = parts.dictionary_names()
    rows, without, damaged = [], [], []
    for other in others:
        try:
            twin = resources.index(other.id).atom_from(atom.document, atom.position)
        except DamagedError:
            damaged.append(other.id)
            continue
        both = parts.compare_address(state.CompareState(record.id, other.id, atom_a=atom.atom, atom_b=twin))
        name = [Token(names[other.id])]
        if twin is None:  # there its best match and its transplant stand beside it
            without.append(Row(name, ["no atom"], links=[("compare", both, "")]))
            continue
        href = parts.atom_address(other.id, twin)
        rows.append(Row(name, [f"atom {twin}"], href=href, links=[("compare", both, "")]))
    plural = "dictionary" if len(others) == 1 else "dictionaries"
    st.caption(f"This very token is an atom of {len(rows)} of {len(others)} other {plural} over the same text")
    if rows or without:
        token_strip([*rows, *without], key="elsewhere", style="table")
    if damaged:
        st.text(f"Damaged, not looked into: {', '.join(damaged)}")


def show_meaning(atom: Atom, index: Index) -> None:
    """Whether the label says when the atom fires."""
    st.subheader("What it stands for")
    if not atom.has_source:
        st.text("Its source is not known, so it has no label. Where it fires says what there is to say.")
        return
    if not atom.count:
        st.text("It never fires on the captured tokens, so there is nothing to hold its label against.")
        return
    around = index.contexts([atom.token], atom.atom, radius=1)
    before = [row.text for row in each(around) if row.token < atom.token]
    shares = index.token_shares(atom.atom)
    prediction = index.label_prediction(atom.atom)
    found = label.verdict(prediction, shares, atom.label, before[0] if before else None)
    with st.container(border=True):
        VERDICTS[found.word]()
        st.text(found.line)
        for reason in found.reasons:
            st.caption(inert(reason))
    rows = [
        Row(
            [Token(row.text or "∅")],
            [share(row.weight_share), count(row.count), f"{share(row.fires_on)} of {count(row.occurrences)}"],
        )
        for row in each(shares)
    ]
    with st.expander("Tokens it fires on most"):
        token_strip(
            rows, key="shares", columns=["Token", "share of its weight", "fires", "of its occurrences"], style="list"
        )
        parts.download(shares, key="shares_csv", file=f"atom-{atom.atom}-tokens.csv")


def show_histogram(atom: Atom, index: Index) -> None:
    """How strongly it fires, and how often."""
    bins = index.histogram(atom.atom)
    st.subheader(f"Coefficients, {share(atom.density)} of tokens")
    if bins.empty:
        st.caption("It never fires on the captured tokens.")
        return
    if atom.maximum == atom.minimum:
        st.text(f"Its coefficient is {number(atom.maximum)} wherever it fires.")
        return
    parts.figure(
        figures.histogram(bins),
        bins,
        key="histogram",
        alt=f"Histogram of the coefficients of atom {atom.atom}",
        file=f"atom-{atom.atom}-histogram.csv",
    )


def show_examples(atom: Atom, index: Index) -> None:
    """Where it fires: the top, five intervals, and the lowest."""
    top, spread, low = (
        index.top_examples(atom.atom),
        index.interval_examples(atom.atom),
        index.lowest_examples(atom.atom),
    )
    if top.empty:
        return
    asked = sorted({int(token) for frame in (top, spread, low) for token in frame["token"]})
    passages = index.passages(asked, atom.atom)

    def strip(examples: pd.DataFrame, key: str) -> None:
        rows = []
        for example in each(examples):
            passage = passages[example.token]
            repeats = getattr(example, "repeats", 1)
            where = f"{passage['name'].iloc[0]}" + (f"   ×{repeats}" if repeats > 1 else "")
            rows.append(
                Row(
                    tokens_of(passage, example.token),
                    [number(example.coefficient)],
                    key=int(example.token),
                    note=where,
                )
            )
        picked = token_strip(rows, key=key, strongest=atom.strongest)
        if picked is not None:
            show_document(atom.atom, int(picked))

    st.subheader("Top examples")
    st.caption(
        "Where its coefficient is largest, the sign counted; ×n counts passages that read the same. "
        "Click one for its document"
    )
    strip(top, "top")
    if atom.maximum == atom.minimum:
        return
    st.subheader("Across its range")
    width = ((atom.maximum or 0) - (atom.minimum or 0)) / INTERVALS
    for interval in range(INTERVALS):
        examples = spread.loc[spread["interval"] == interval, :]
        high = (atom.maximum or 0) - interval * width
        held = share(examples["share"].mean()) if len(examples) else "none"
        st.text(f"{number(high - width)} to {number(high)}: {held} of its firing")
        if len(examples):
            strip(examples, f"interval_{interval}")
    st.subheader("Lowest")
    strip(low, "low")


def show_atom() -> None:
    """The whole page."""
    shown = state.decode(state.AtomState, st.query_params)
    if not shown.dictionary:
        parts.show_no_dictionary("Atom")
        return
    record = resources.library().record(shown.dictionary)
    index = resources.index(record.id)
    if shown.atom is None:
        raise UserError(f"the address names no atom: a may be 0 to {index.n_atoms - 1}")
    atom = index.atom(shown.atom)
    show_header(record, atom, index)
    show_source(record.id, atom, index)
    show_figures(atom, record)
    left, right = st.columns([1, 2], gap="large")
    with right:
        show_meaning(atom, index)
        show_histogram(atom, index)
        show_examples(atom, index)
    with left:
        show_relatives(record, atom, index)


with parts.errors_shown():
    show_atom()
