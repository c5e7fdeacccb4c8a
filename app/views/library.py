"""The library: its dictionaries by model and layer, its corpora, and the jobs that work on it."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from app import figures, naming, parts, resources, state
from app.components.leap import leap
from app.components.token_strip import Row, Token, token_strip
from app.jobs_view import is_running, show_jobs, show_start
from app.text import count, inert, number
from itda_core.corpus import Corpus
from itda_core.jobs import read_jobs
from itda_core.library import Damaged, DictionaryRecord
from itda_core.types import HOOKS, UserError

MEASURES = {
    "error": "relative error",
    "atoms": "atoms",
    "density": "atoms per token",
    "tokens": "tokens",
}
CLICKS = {"open": "opens its atoms", "compare": "chooses A, then B"}
HOOK_NAMES = {"resid": "block output", "mlp": "MLP", "attn": "attention"}


def measure_of(record: DictionaryRecord, measure: str) -> float | None:
    """The number that a cell is coloured by; None where it was not measured."""
    return {
        "error": record.relative_error,
        "atoms": record.n_atoms,
        "density": record.n_atoms / max(record.n_tokens, 1),
        "tokens": record.n_tokens,
    }[measure]


def show_grid(records: list[DictionaryRecord], shown: state.LibraryState) -> None:
    """The grid of one hook's dictionaries; a click opens one."""
    hooks = [hook for hook in HOOKS if any(record.site.hook == hook for record in records)]
    hook = shown.hook if shown.hook in hooks else hooks[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(hooks) > 1:
            choose("hook", "Place in the block", hooks, hook, HOOK_NAMES)
        choose("measure", "Colour", list(state.MEASURES), shown.measure, MEASURES)
        choose("click", "A click on a cell", list(state.CLICKS), shown.click, CLICKS)
    here = [record for record in records if record.site.hook == hook]
    placed = naming.rows(here)
    rows = sorted(set(placed.values()))
    names = parts.dictionary_names()
    first = shown.first if shown.click == "compare" and shown.first in names else ""
    if shown.click == "compare":
        chosen = f"A is {names[first]}. Now click the cell to be B." if first else "Click the cell to be A."
        st.caption(inert(chosen))
    deepest = max(max(record.n_layers, record.site.layer + 1) for record in here)
    layers = list(range(deepest)) if deepest <= 48 else sorted({record.site.layer for record in here})
    cells = pd.DataFrame(
        {
            "id": record.id,
            "row": rows.index(placed[record.id]),
            "layer": record.site.layer,
            "value": measure_of(record, shown.measure),
            "text": f"{record.n_atoms:,}↵{number(record.relative_error)}",
            "detail": f"{names[record.id]}↵{record.n_atoms:,} atoms, relative error "
            f"{number(record.relative_error)}↵click to {shown.click}",
        }
        for record in here
    )
    selected = parts.figure(
        figures.library_grid(cells, [f"{short(model)}↵{setting}".rstrip("↵") for model, setting in rows], layers),
        lambda: table_of(here),
        key=f"grid_{first}",  # a new one for the second choice, where nothing is selected yet
        alt="Dictionaries by model and layer; the table below has the same with links",
        file="dictionaries.csv",
        on_select="rerun",
        selection_mode="points",
    )
    if points := selected.get("points"):
        wanted = points[0].get("customdata")
        open_cell(wanted[0] if isinstance(wanted, list) else wanted, shown, first)


def open_cell(dictionary_id: str, shown: state.LibraryState, first: str) -> None:
    """Go where a click on a cell leads: to its atoms, or with the cell that was chosen first to their comparison."""
    if shown.click == "open":
        leap(parts.atoms_address(dictionary_id))
    elif first:
        leap(parts.compare_address(state.CompareState(first, dictionary_id)))
    else:
        st.query_params.from_dict(state.encode(replace(shown, first=dictionary_id)))
        st.rerun()


def short(model: str) -> str:
    """A model's name that leaves room for the row."""
    return model if len(model) <= 26 else "…" + model[-25:]


def choose(name: str, label: str, options: list[str], now: str, words: dict[str, str]) -> None:
    """A choice that lives in the address."""
    key = f"library_{name}"

    def changed() -> None:
        changes = {name: st.session_state[key]} | ({"first": ""} if name == "click" else {})
        parts.change(state.LibraryState, **changes)

    st.session_state[key] = now
    st.segmented_control(label, options, format_func=words.__getitem__, key=key, on_change=changed, required=True)


def table_of(records: list[DictionaryRecord]) -> pd.DataFrame:
    """Settings and quality of dictionaries, for downloads."""
    return pd.DataFrame(
        {
            **record.summary(),
            "revision": record.revision,
            "init": record.settings.init,
            "max_atoms": record.settings.max_atoms,
            "holdout": record.holdout,
            "measured_tokens": record.measured_tokens,
            "seconds": record.seconds,
            "created": record.created,
        }
        for record in records
    )


def show_table(records: list[DictionaryRecord]) -> None:
    """Settings and quality of every dictionary, each row a link to its atoms."""
    columns = [
        "Dictionary",
        "atoms",
        "relative error",
        "measured on",
        "threshold",
        "L0",
        "scan",
        "start",
        "tokens",
        "corpus",
        "revision",
    ]
    names = parts.dictionary_names()
    rows = [
        Row(
            [Token(names[record.id])],
            [
                count(record.n_atoms),
                number(record.relative_error),
                f"{count(record.measured_tokens)} {'held out' if record.holdout else 'seen'}",
                parts.threshold_of(record),
                str(record.settings.l0),
                record.settings.scan,
                record.settings.init,
                count(record.n_tokens),
                record.corpus,
                (record.revision or "local")[:12],
            ],
            href=parts.atoms_address(record.id),
        )
        for record in records
    ]
    token_strip(rows, key="dictionaries", columns=columns, style="table")


def show_damaged(damaged: list[Damaged]) -> None:
    """Dictionaries that cannot be opened, and what to do."""
    is_all_newer = all(each.is_newer for each in damaged)
    st.subheader("Of a newer version" if is_all_newer else "Damaged")
    for each in damaged:
        st.error(
            f"**{inert(each.id)}**: {inert(each.reason)}",
            icon=":material/update:" if each.is_newer else ":material/broken_image:",
        )
    if is_all_newer:
        return
    st.text(
        "Build a damaged dictionary again with the same settings, or delete its folder under dictionaries/. "
        "The others are not affected."
    )


def show_corpora() -> None:
    """The corpora, as ingested."""
    found = resources.corpora()
    if not found:
        return
    st.subheader("Corpora")
    rows = [
        Row(
            [Token(corpus.id)],
            [
                corpus.settings.spec,
                count(corpus.n_documents),
                count(corpus.n_characters),
                f"{'first' if corpus.cut.windows == 'first' else 'all windows of'} {corpus.cut.context} tokens",
            ],
        )
        for corpus in found
        if isinstance(corpus, Corpus)
    ]
    if rows:
        columns = ["Corpus", "read from", "documents", "characters", "read of each document"]
        token_strip(rows, key="corpora", columns=columns, style="table")
    for error in found:
        if isinstance(error, UserError):
            st.error(inert(str(error)), icon=":material/broken_image:")


def show_library() -> None:
    """The whole page."""
    library = resources.library()
    found = resources.records()
    records = [record for record in found if isinstance(record, DictionaryRecord)]
    damaged = [each for each in found if isinstance(each, Damaged)]
    jobs = read_jobs(library.root)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title("Library", width="content")
        with st.container(horizontal=True, width="content"):
            if records:
                st.page_link(parts.DECOMPOSE_PAGE, label="Decompose a text", icon=":material/function:")
                st.page_link(parts.QUALITY_PAGE, label="Quality", icon=":material/query_stats:")
            if len(records) > 1:
                st.page_link(parts.COMPARE_PAGE, label="Compare two", icon=":material/compare_arrows:")
                st.page_link(parts.SIMILARITY_PAGE, label="Similarity", icon=":material/grid_on:")
            if found:
                st.page_link(parts.BUILD_PAGE, label="Build a dictionary", icon=":material/add:")
    if not found and not is_running(jobs):
        show_start(jobs)
        jobs = read_jobs(library.root)
    elif records:
        models = len({record.model for record in records})
        atoms = sum(record.n_atoms for record in records)
        st.caption(
            f"{len(records)} {'dictionary' if len(records) == 1 else 'dictionaries'} of {models} "
            f"{'model' if models == 1 else 'models'}, {atoms:,} atoms. Each cell is a dictionary: its number of atoms, "
            "and the relative error that was measured on it. Click one to read its atoms."
        )
    if is_running(jobs):
        show_jobs([job for job in jobs if job.status == "running"])
    if records:
        show_grid(records, state.decode(state.LibraryState, st.query_params))
        show_table(records)
    if damaged:
        show_damaged(damaged)
    show_corpora()
    show_jobs([job for job in jobs if job.status != "running"])


with parts.errors_shown():
    show_library()
