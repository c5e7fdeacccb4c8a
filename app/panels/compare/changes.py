"""Compare page: best matches, largest changes, and pairs compared already."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from app import resources
from app.components.token_strip import Row, token_strip
from app.format.tables import each
from app.format.text import count, number, share
from app.panels.compare.address import widget
from app.panels.compare.kinds import show_kinds
from app.panels.compare.rows import match_address, matched_row, source_tokens
from app.shell import chrome, urls, widgets
from app.state import pages
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.pair_filters import LEAST_TOGETHER, PairFilter
from itda_core.queries.pairs import Pair, PartCounts

RANKED, MATCHED, MOST_COMPARED = 8, 12, 20
RANKINGS = {"heaviest": "weight", "surprising": "error at admission", "strongest": "strongest coefficient"}
WEIGHT = "An atom's weight is its share of the sum of absolute coefficients over the common tokens."


def show_matches(shown: pages.CompareState, pair: Pair, whole: PartCounts) -> None:
    """Show the best matches of atoms without a twin.

    A best match is the atom of the other side that fires most like the atom.
    """
    st.subheader(
        "Best matches of atoms without a twin",
        help="A twin has the same source. A best match is the atom of the other side with the highest correlation of "
        f"coefficients over the common tokens, of those that fire together on {LEAST_TOGETHER} tokens or more.",
    )
    rows = pair.matches(MATCHED)
    if rows.empty:
        st.text(
            "None: "
            + ("no atom fires together with one of the other side." if whole.a + whole.b else "each has a twin.")
        )
        return
    columns = ["Atom of A over atom of B", "correlation", "fire together on", "pages"]
    token_strip([matched_row(shown, row) for row in each(rows)], key="matches", columns=columns)
    widgets.download(
        lambda: pair.matches(whole.a + whole.b),
        key="matches_csv",
        file=f"{shown.a}--{shown.b}-matches.csv",
        label="All matches as CSV",
    )


def show_changes(
    shown: pages.CompareState, a: DictionaryManifest, b: DictionaryManifest, pair: Pair, whole: PartCounts
) -> None:
    """Show which atoms appeared, disappeared or changed most from A to B.

    This is for two checkpoints, or a model and one tuned from it; nothing is shown where shape, tokenizer or site
    differ.
    """
    if (a.n_layers, a.d_model, a.tokenizer_sha256, a.site) != (b.n_layers, b.d_model, b.tokenizer_sha256, b.site):
        return
    st.subheader(
        "What changed from A to B",
        help=f"A is taken as the earlier checkpoint, or the model that B was trained from. {WEIGHT} An atom whose best "
        "match correlates at almost 1 has changed its source token rather than what it represents.",
    )
    carried = pair.carried()
    st.text(
        f"{count(whole.both)} of A's {count(a.n_atoms)} atoms are also in B. {count(whole.a)} are only in A, with "
        f"{share(carried.a)} of A's weight; {count(whole.b)} are only in B, with {share(carried.b)} of B's weight."
    )
    show_kinds(shown, pair)
    st.subheader("Atoms that appeared, disappeared or changed")
    with st.container(width=420):
        st.segmented_control(
            "Ranked by",
            list(RANKINGS),
            format_func=RANKINGS.__getitem__,
            required=True,
            **widget("ranking", shown.ranking),
        )
    sort, descending = pages.PAIR_SORTS[shown.ranking]
    titles = {"a": "Removed: only in A", "b": "New: only in B"}
    for column, (part, title) in zip(st.columns(2, gap="large"), titles.items(), strict=True):
        with column:
            st.text(title)
            rows = pair.page(PairFilter(part), sort, descending, limit=RANKED)
            show_ranked(shown, rows, part)
            download_rows(shown, pair, PairFilter(part), shown.ranking, "went" if part == "a" else "came")
    titles = {"lost": "In both, with less weight in B", "gained": "In both, with more weight in B"}
    for column, (order, title) in zip(st.columns(2, gap="large"), titles.items(), strict=True):
        with column:
            st.text(title)
            sort, descending = pages.PAIR_SORTS[order]
            rows = pair.page(PairFilter("both"), sort, descending, limit=RANKED)
            change = rows["b_weight"] - rows["a_weight"]
            show_moved(shown, rows.loc[(change > 0) if descending else (change < 0), :], order)
            download_rows(shown, pair, PairFilter("both"), order, order)


def carries(weight: float) -> str:
    """Format an atom's share of all coefficients, precisely enough to show changes.

    Hardly any atom carries a hundredth.
    """
    return f"{number(100 * weight, 2)} %"


def download_rows(shown: pages.CompareState, pair: Pair, where: PairFilter, order: str, name: str) -> None:
    """Show a download button for a complete list of which the page shows the start."""
    sort, descending = pages.PAIR_SORTS[order]
    widgets.download(
        lambda: pair.page(where, sort, descending, limit=getattr(pair.counts(), where.part)),
        key=f"{name}_csv",
        file=f"{shown.a}--{shown.b}-{name}.csv",
        label="All as CSV",
    )


def show_ranked(shown: pages.CompareState, rows: pd.DataFrame, part: str) -> None:
    """Show the highest-ranked atoms of one side alone."""
    if rows.empty:
        st.caption("None.")
        return
    value: Callable[[Any], str] = {
        "heaviest": lambda row: carries(getattr(row, f"{part}_weight")),
        "surprising": lambda row: number(getattr(row, f"{part}_admission_error")),
        "strongest": lambda row: number(getattr(row, f"{part}_strongest")),
    }[shown.ranking]
    heading = {"heaviest": "weight", "surprising": "error", "strongest": "strongest"}[shown.ranking]
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


def show_moved(shown: pages.CompareState, rows: pd.DataFrame, order: str) -> None:
    """Show twins of which one carries more than the other."""
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


def compared_with(shown: pages.CompareState) -> list[tuple[str, str]]:
    """Return the pairs that were compared already, A first.

    If one dictionary is chosen, these are the pairs that contain it, with it on its side.
    """
    pairs = [(a.id, b.id) for a, b in resources.compared()]
    chosen = shown.a or shown.b
    if not chosen:
        return pairs
    # A comparison of two dictionaries is valid in both orders.
    others = dict.fromkeys(b if a == chosen else a for a, b in pairs if chosen in (a, b))
    return [(chosen, other) if shown.a else (other, chosen) for other in others]


def show_compared(shown: pages.CompareState) -> None:
    """Show links to the pairs that were compared already."""
    names = chrome.dictionary_names()
    pairs = compared_with(shown)
    if pairs:
        st.text("These were compared already:")
    for at, (a, b) in enumerate(pairs[:MOST_COMPARED]):
        words = f"{names[a]} and {names[b]}"
        widgets.link(words, urls.address(pages.CompareState(a, b)), "compare_arrows", key=f"compared_{at}")
    if len(pairs) > MOST_COMPARED:
        st.text(f"And {count(len(pairs) - MOST_COMPARED)} more.")


def show_others(shown: pages.CompareState) -> None:
    """Show links that choose the missing dictionary."""
    chosen = shown.a or shown.b
    if chosen not in (names := chrome.dictionary_names()):
        return
    known = {other for pair in compared_with(shown) for other in pair}
    others = [name for name in names if name not in {chosen, *known}]
    for other in others[:MOST_COMPARED]:
        pair = pages.CompareState(shown.a or other, shown.b or other)
        widgets.link(names[other], urls.address(pair), "compare_arrows", key=f"other_{other}")
