"""Two dictionaries side by side: which sources both chose, which only one did, and what stands for those."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from app import jobs_view, match_view, parts, resources, state
from app.components.pair_bar import BarPart, pair_bar
from app.components.token_strip import Row, Token, token_strip
from app.iou_view import show_iou
from app.pair_rows import lone_row, match_address, matched_row, mirrored, source_tokens, twin_row
from app.passage import addressed, passage, text_of, to_decompose
from app.tables import each
from app.text import count, number, share, visible
from itda_core.comparison import Comparison
from itda_core.library import DictionaryRecord
from itda_core.pair_queries import LEAST_TOGETHER, Pair, PairFilter, PartCounts
from itda_core.passages import MOST_CHARACTERS
from itda_core.types import UserError

PAGE_ROWS = 30
RANKED, MATCHED, MOST_COMPARED = 8, 12, 20
PART_NAMES = {"a": "only in A", "both": "in both", "b": "only in B"}
SORTS = {
    "strongest": "strongest first",
    "admission": "as admitted",
    "densest": "fires on most tokens",
    "rarest": "fires on fewest tokens",
    "surprising": "largest error at admission",
    "heaviest": "carries most",
    "matched": "best match first",
    "unmatched": "poorest match first",
    "gained": "carries more in B",
    "lost": "carries more in A",
}
RANKINGS = {"heaviest": "what it carries", "surprising": "error when admitted", "strongest": "strongest coefficient"}
OF_ONE_SIDE, OF_TWINS = ("matched", "unmatched"), ("gained", "lost")
OF_THE_JOB = (*OF_ONE_SIDE, *OF_TWINS, "heaviest")
WEIGHT = "What an atom carries is its share of the sum of all absolute coefficients, over the tokens that both saw."


def go(**changes: Any) -> None:
    """Change what the page shows; what changes the list starts it at its first page."""
    if not changes.keys() & {"page", "ranking", "passage", "kept", "segment"}:
        changes["page"] = 1
    parts.change(state.CompareState, **changes)


def widget(name: str, value: Any) -> dict[str, Any]:
    """Key and callback of a widget that shows one field of the address, set to that field's value."""
    key = f"compare_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: go(**{name: st.session_state[key]})}


def show_chooser(shown: state.CompareState) -> None:
    """Which two dictionaries: A on the left, B on the right."""
    names = parts.dictionary_names()
    records = {record.id: record for record in parts.sound_records()}

    def choose(side: str, now: str) -> None:
        key = f"compare_choose_{side}"
        st.session_state[key] = now if now in names else None

        def changed() -> None:
            chosen = {side: st.session_state[key] or "", "page": 1, "atom_a": None, "atom_b": None, "segment": None}
            parts.change(state.CompareState, **chosen, beside="match")

        record = records.get(now)
        words = {"a": "on the left", "b": "on the right"}[side]
        if record is not None:
            words = f"{count(record.n_atoms)} atoms, relative error {number(record.relative_error)}"
        token_strip([Row([Token(words)], sides=side)], key=f"chip_{side}", style="links")
        st.selectbox(
            f"Dictionary {side.upper()}",
            list(names),
            index=None,
            format_func=names.__getitem__,
            placeholder="choose a dictionary",
            key=key,
            on_change=changed,
            label_visibility="collapsed",
        )

    left, middle, right = st.columns([8, 1, 8], vertical_alignment="bottom")
    with left:
        choose("a", shown.a)
    with middle:
        st.button(
            ":material/swap_horiz:",
            key="swap",
            type="tertiary",
            disabled=not (shown.a and shown.b),
            on_click=swap,
            help="Swap A and B",
        )
    with right:
        choose("b", shown.b)


def swap() -> None:
    """A becomes B and B becomes A, and what is looked at stays."""
    here = state.decode(state.CompareState, st.query_params)
    turned = replace(
        here,
        a=here.b,
        b=here.a,
        part=mirrored(here.part),
        sort={"gained": "lost", "lost": "gained"}.get(here.sort, here.sort),
        atom_a=here.atom_b,
        atom_b=here.atom_a,
        beside=mirrored(here.beside),
    )
    st.query_params.from_dict(state.encode(turned))


def show_bar(shown: state.CompareState, whole: PartCounts, found: PartCounts) -> None:
    """The two dictionaries as one bar, whose parts say what is listed."""

    def part(name: str) -> BarPart:
        note = f"{count(getattr(found, name))} found" if shown.text else ""
        listed = replace(shown, part=name, page=1, atom_a=None, atom_b=None, beside="match")
        href = parts.compare_address(listed)
        is_current = name == shown.part and shown.atom_a is None and shown.atom_b is None
        return BarPart(name, PART_NAMES[name], getattr(whole, name), href, note, is_current)

    pair_bar([part(name) for name in PART_NAMES], key="bar")


def show_figures(whole: PartCounts, found: Comparison | None) -> None:
    """How alike the two are, and how much of it chance would give."""
    with st.grid(4, min_column_width=150):
        show_iou(
            whole.jaccard,
            None if found is None else found.interval,
            None if found is None else found.chance,
            both="both chose",
            either="either chose",
            blind="each had chosen as many sources blindly, of the tokens that both could choose",
        )
        st.metric(
            "By chance, same frequency",
            number(None if found is None else found.chance_frequency),
            border=True,
            help="The same, if each had chosen blindly among tokens that are about as frequent as those that it chose.",
        )
    if found is not None and (found.key == "characters" or found.coverage < 1):
        same = "end at the same character" if found.key == "characters" else "are the same"
        st.caption(
            f"Of the tokens that A saw, {share(found.coverage_a)} {same} as one that B saw; of B's, "
            f"{share(found.coverage_b)} as one of A's. An atom from any other token cannot be in both."
        )


def sorts_of(shown: state.CompareState, is_measured: bool) -> list[str]:
    """The orders that the listed part can have, with what the job measured or without."""
    left_out = OF_ONE_SIDE if shown.part == "both" else OF_TWINS
    if not is_measured:
        left_out = OF_THE_JOB
    return [name for name in SORTS if name not in left_out]


def show_list(shown: state.CompareState, pair: Pair, found: PartCounts, key: str, is_measured: bool) -> None:
    """One search for both sides, and one page of the part that the bar names."""
    orders = sorts_of(shown, is_measured)
    order = shown.sort if shown.sort in orders else orders[0]
    sort, descending = state.PAIR_SORTS[order]
    total = getattr(found, shown.part)
    st.subheader({"both": "Atoms with the same source", "a": "Atoms only in A", "b": "Atoms only in B"}[shown.part])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=245):
            st.text_input(
                "Search both sides",
                placeholder="text of a source",
                icon=":material/search:",
                max_chars=200,
                **widget("text", shown.text),
            )
        with st.container(width=220):
            st.selectbox("Order", orders, format_func=SORTS.__getitem__, **widget("sort", order))
        if shown.text:
            st.button("Clear", icon=":material/close:", type="tertiary", on_click=go, kwargs={"text": ""})
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{total:,} {'pairs' if shown.part == 'both' else 'atoms'}")
        where = shown.where
        parts.download(
            lambda: pair.page(where, sort, descending, limit=max(total, 1)),
            key="pairs_csv",
            file=f"{shown.a}--{shown.b}-{shown.part}.csv",
            label="List as CSV",
        )
    if not total:
        show_nothing(shown, found)
        return
    pages = -(-total // PAGE_ROWS)
    page = min(shown.page, pages)
    rows = pair.page(where, sort, descending, (page - 1) * PAGE_ROWS, PAGE_ROWS)
    make = twin_row if shown.part == "both" else lone_row
    columns = {
        "both": ["Source of both", "A fires on", "B fires on", "A strongest", "B strongest", "pages"],
        "a": ["Source in A", "fires on", "strongest", "error", "best match", "pages"],
        "b": ["Source in B", "fires on", "strongest", "error", "best match", "pages"],
    }[shown.part]
    token_strip([make(shown, row, shown.part, key) for row in each(rows)], key="pairs", columns=columns)
    if pages > 1:
        # Its key names the page, because the address alone says which page it is on.
        name = f"compare_page_{page}"
        st.pagination(pages, default=page, key=name, on_change=lambda: go(page=st.session_state[name]))


def show_nothing(shown: state.CompareState, found: PartCounts) -> None:
    """Why nothing is listed, and what to do."""
    if shown.text:
        elsewhere = [f"{count(n)} {name}" for part, name in PART_NAMES.items() if (n := getattr(found, part))]
        st.text(f"Nothing found: no source {PART_NAMES[shown.part]} has “{visible(shown.text)}” near it.")
        if not elsewhere:
            st.text("Nor has any other of the two: search for less, or clear the search.")
            return
        st.text(
            f"The same search finds {' and '.join(elsewhere)}: choose another part of the bar, or clear the search."
        )
    elif shown.part == "both":
        st.text("Nothing found: the two dictionaries chose no source in common. Look at the atoms of either alone.")
    else:
        st.text("Nothing found: every atom of this dictionary has a twin in the other.")


def show_passage(shown: state.CompareState) -> None:
    """A text of the reader's, as both decompose it."""

    def submitted() -> None:
        text, kept = addressed(st.session_state["compare_passage"])
        go(passage=text, kept=kept, segment=None)

    st.subheader("A passage that both decompose")
    text = text_of(shown.passage, shown.kept)
    if st.session_state.get("compare_passage_shown") != text or "compare_passage" not in st.session_state:
        # Only where the address says something else: what was typed and not sent yet is the reader's.
        st.session_state["compare_passage"], st.session_state["compare_passage_shown"] = text or "", text
    with st.form("compare_passage_form", border=False):
        st.text_area(
            "Text",
            key="compare_passage",
            height=80,
            max_chars=MOST_CHARACTERS,
            placeholder="Any text, to see what each of the two makes of it",
            label_visibility="collapsed",
        )
        st.form_submit_button("Decompose", icon=":material/function:", on_click=submitted)
    text = to_decompose(text, shown.kept)
    if not text:
        return
    try:
        passage(shown, text, lambda segment: go(segment=segment))
    except UserError as error:
        parts.show_error(error)


def show_matches(shown: state.CompareState, pair: Pair, whole: PartCounts) -> None:
    """For atoms without a twin: the atom of the other side that fires most like them."""
    st.subheader("Best matches of atoms without a twin")
    st.caption(
        "The atom of the other side whose coefficients correlate most with its own, over all tokens that both saw; "
        f"only atoms that fire together on {LEAST_TOGETHER} tokens or more are held against each other. The lists of "
        "atoms only in A, or only in B, can be ordered by it."
    )
    rows = pair.matches(MATCHED)
    if rows.empty:
        st.text("None: " + ("none of them fires with one of the others." if whole.a + whole.b else "each has a twin."))
        return
    columns = ["Atom of A over atom of B", "correlation", "fire together on", "pages"]
    token_strip([matched_row(shown, row) for row in each(rows)], key="matches", columns=columns)
    parts.download(
        lambda: pair.matches(whole.a + whole.b),
        key="matches_csv",
        file=f"{shown.a}--{shown.b}-matches.csv",
        label="All matches as CSV",
    )


def show_changes(
    shown: state.CompareState, a: DictionaryRecord, b: DictionaryRecord, pair: Pair, whole: PartCounts
) -> None:
    """What became an atom from A to B and what stopped being one: for two checkpoints, or a model and a tuned one."""
    if (a.n_layers, a.d_model, a.tokenizer_sha256, a.site) != (b.n_layers, b.d_model, b.tokenizer_sha256, b.site):
        return
    st.subheader("What changed from A to B")
    carried = pair.carried()
    st.text(
        f"{count(whole.both)} of A's {count(a.n_atoms)} atoms are atoms of B too. {count(whole.a)} are atoms no "
        f"longer: they carried {share(carried.a)} of A's coefficients. {count(whole.b)} are new: they carry "
        f"{share(carried.b)} of B's."
    )
    st.caption(
        "Read it so where A is the earlier of two checkpoints, or the model that B was trained on from; of any other "
        "two it says how they differ. " + WEIGHT + " A best match close to 1 fires as the atom does, so its token was "
        "exchanged rather than what it stands for; one close to 0, or none, is new or gone indeed."
    )
    with st.container(width=420):
        st.segmented_control(
            "Ranked by",
            list(RANKINGS),
            format_func=RANKINGS.__getitem__,
            required=True,
            **widget("ranking", shown.ranking),
        )
    sort, descending = state.PAIR_SORTS[shown.ranking]
    titles = {"a": "No longer atoms: only A has them", "b": "New atoms: only B has them"}
    for column, (part, title) in zip(st.columns(2, gap="large"), titles.items(), strict=True):
        with column:
            st.text(title)
            rows = pair.page(PairFilter(part), sort, descending, limit=RANKED)
            show_ranked(shown, rows, part)
            download_rows(shown, pair, PairFilter(part), shown.ranking, "went" if part == "a" else "came")
    titles = {"lost": "In both, and carries less in B", "gained": "In both, and carries more in B"}
    for column, (order, title) in zip(st.columns(2, gap="large"), titles.items(), strict=True):
        with column:
            st.text(title)
            sort, descending = state.PAIR_SORTS[order]
            rows = pair.page(PairFilter("both"), sort, descending, limit=RANKED)
            change = rows["b_weight"] - rows["a_weight"]
            show_moved(shown, rows.loc[(change > 0) if descending else (change < 0), :], order)
            download_rows(shown, pair, PairFilter("both"), order, order)


def carries(weight: float) -> str:
    """What an atom carries, precisely enough to see it change: hardly any carries a hundredth."""
    return f"{number(100 * weight, 2)} %"


def download_rows(shown: state.CompareState, pair: Pair, where: PairFilter, order: str, name: str) -> None:
    """A button for the whole of a list of which the page shows the beginning."""
    sort, descending = state.PAIR_SORTS[order]
    parts.download(
        lambda: pair.page(where, sort, descending, limit=getattr(pair.counts(), where.part)),
        key=f"{name}_csv",
        file=f"{shown.a}--{shown.b}-{name}.csv",
        label="All as CSV",
    )


def show_ranked(shown: state.CompareState, rows: pd.DataFrame, part: str) -> None:
    """The atoms of one side alone that there is most to."""
    if rows.empty:
        st.caption("None.")
        return
    value: Callable[[Any], str] = {
        "heaviest": lambda row: carries(getattr(row, f"{part}_weight")),
        "surprising": lambda row: number(getattr(row, f"{part}_admission_error")),
        "strongest": lambda row: number(getattr(row, f"{part}_strongest")),
    }[shown.ranking]
    heading = {"heaviest": "carries", "surprising": "error", "strongest": "strongest"}[shown.ranking]
    token_strip(
        [
            Row(
                source_tokens(row, part),
                [value(row), number(getattr(row, f"{part}_correlation"), 2)],
                href=match_address(shown, row.a, row.b),
                sides=part,
            )
            for row in each(rows)
        ],
        key=f"ranked_{part}",
        columns=["Source", heading, "best match"],
    )


def show_moved(shown: state.CompareState, rows: pd.DataFrame, order: str) -> None:
    """Twins of which one carries more than the other."""
    if rows.empty:
        st.caption("None.")
        return
    token_strip(
        [
            Row(
                source_tokens(row, "b"),
                [carries(row.a_weight), carries(row.b_weight)],
                href=match_address(shown, row.a, row.b),
            )
            for row in each(rows)
        ],
        key=f"moved_{order}",
        columns=["Source of both", "in A", "in B"],
    )


def show_pair(shown: state.CompareState) -> None:
    """Two dictionaries, or two atoms of them."""
    library = resources.library()
    a, b = library.record(shown.a), library.record(shown.b)
    pair = resources.pair(a, b)
    whole = pair.counts()
    found = pair.counts(shown.text) if shown.text else whole
    show_bar(shown, whole, found)
    if shown.atom_a is not None or shown.atom_b is not None:
        match_view.show_match(shown, pair)
        return
    comparison = resources.comparison(a, b)
    show_figures(whole, comparison)
    address = parts.quality_address(state.QualityState(a.id, b.id))
    parts.link("How good is each of them?", address, "query_stats", key="quality")
    if comparison is None:
        jobs_view.offer_work(
            "How much of this chance would give, how sure it is, and which atoms match those without a twin, is "
            "computed once and kept.",
            "Compute chance and matches",
            ":material/compare_arrows:",
            ["compare", a.id, b.id],
        )
    show_list(
        shown,
        pair,
        found,
        "token" if a.tokenizer_sha256 == b.tokenizer_sha256 else "characters",
        comparison is not None,
    )
    show_passage(shown)
    if comparison is not None:
        show_matches(shown, pair, whole)
        show_changes(shown, a, b, pair, whole)


def compared_with(shown: state.CompareState) -> list[tuple[str, str]]:
    """The pairs that were compared already, A first: of one chosen dictionary those that it is in, on its side."""
    pairs = [(a.id, b.id) for a, b in resources.compared()]
    chosen = shown.a or shown.b
    if not chosen:
        return pairs
    # What was computed of two dictionaries holds for both orders.
    others = dict.fromkeys(b if a == chosen else a for a, b in pairs if chosen in (a, b))
    return [(chosen, other) if shown.a else (other, chosen) for other in others]


def show_compared(shown: state.CompareState) -> None:
    """Links to the pairs that were compared already."""
    names = parts.dictionary_names()
    pairs = compared_with(shown)
    if pairs:
        st.text("These were compared already:")
    for at, (a, b) in enumerate(pairs[:MOST_COMPARED]):
        words = f"{names[a]} and {names[b]}"
        parts.link(words, parts.compare_address(state.CompareState(a, b)), "compare_arrows", key=f"compared_{at}")
    if len(pairs) > MOST_COMPARED:
        more = f"And {count(len(pairs) - MOST_COMPARED)} more"
        st.text(
            f"{more}: choose the other dictionary above." if shown.a or shown.b else f"{more}: choose A or B above."
        )


def show_compare() -> None:
    """The whole page."""
    try:
        shown = state.decode(state.CompareState, st.query_params)
    except UserError as error:
        known = parts.dictionary_names()
        kept = {name: value for name in ("d", "e") if (value := st.query_params.get(name)) in known}
        st.title("Compare")
        parts.show_error(error)
        st.button("Start without filters", on_click=lambda: st.query_params.from_dict(kept))
        return
    names = parts.dictionary_names()
    st.title("Compare")
    titles = [visible(names[each]) for each in (shown.a, shown.b) if each in names]
    st.set_page_config(page_title=" and ".join(titles) if len(titles) == 2 else "Compare")
    show_chooser(shown)
    if not shown.a or not shown.b:
        st.text(
            "Choose two dictionaries of one corpus: two models, two layers, or two checkpoints. Their atoms are real "
            "tokens of that corpus, so it can be seen at once which of them both chose."
            if names
            else "This library has no dictionaries yet."
        )
        show_compared(shown)
        return
    try:
        show_pair(shown)
    except UserError as error:
        parts.show_error(error)


with parts.errors_shown():
    show_compare()
