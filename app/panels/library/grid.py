"""Library page: dictionaries by model and layer."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from app.charts import atoms
from app.components.navigate import navigate
from app.format import names as naming
from app.format.text import inert, number
from app.shell import chrome, urls, widgets
from app.state import codec, pages
from itda_core.common.types import HOOKS
from itda_core.library.manifest import DictionaryManifest

GRID_METRICS = {
    "error": "relative error",
    "explained": "variance explained",
    "atoms": "atoms",
    "density": "atoms per token",
    "tokens": "tokens",
}
CLICKS = {"open": "open its atoms", "compare": "select A and B to compare"}
HOOK_NAMES = {"resid": "block output", "mlp": "MLP", "attn": "attention"}


def measure_of(record: DictionaryManifest, measure: str) -> float | None:
    """Return the number that colours a cell; None where it was not measured."""
    return {
        "error": record.relative_error,
        "explained": record.variance_explained,
        "atoms": record.n_atoms,
        "density": record.n_atoms / max(record.n_tokens, 1),
        "tokens": record.n_tokens,
    }[measure]


def show_grid(records: list[DictionaryManifest], shown: pages.LibraryState) -> None:
    """Show the grid of one hook's dictionaries; a click opens or chooses one."""
    hooks = [hook for hook in HOOKS if any(record.site.hook == hook for record in records)]
    hook = shown.hook if shown.hook in hooks else hooks[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(hooks) > 1:
            choose("hook", "Hook point", hooks, hook, HOOK_NAMES)
        choose("measure", "Colour", list(pages.MEASURES), shown.measure, GRID_METRICS)
        choose("click", "Click on a cell", list(pages.CLICKS), shown.click, CLICKS)
    here = [record for record in records if record.site.hook == hook]
    placed = naming.rows(here)
    rows = sorted(set(placed.values()))
    names = chrome.dictionary_names()
    first = shown.first if shown.click == "compare" and shown.first in names else ""
    if shown.click == "compare":
        chosen = f"A: {names[first]}. Select dictionary B." if first else "Select dictionary A."
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
            "detail": f"{names[record.id]}↵{record.n_atoms:,} atoms, relative error {number(record.relative_error)}, "
            f"variance explained {number(record.variance_explained)}↵click to {shown.click}",
        }
        for record in here
    )
    selected = widgets.figure(
        atoms.library_grid(cells, [f"{short(model)}↵{setting}".rstrip("↵") for model, setting in rows], layers),
        lambda: table_of(here),
        key=f"grid_{first}",  # a new widget for the second choice, with no selection yet
        alt="Dictionaries by model and layer; the table below has the same with links",
        file="dictionaries.csv",
        on_select="rerun",
        selection_mode="points",
    )
    if points := selected.get("points"):
        wanted = points[0].get("customdata")
        open_cell(wanted[0] if isinstance(wanted, list) else wanted, shown, first)


def open_cell(dictionary_id: str, shown: pages.LibraryState, first: str) -> None:
    """Handle a click on a cell.

    It opens the dictionary's atoms, or its comparison with the dictionary that was chosen first; a first choice is
    stored in the URL.
    """
    if shown.click == "open":
        navigate(urls.atoms_address(dictionary_id))
    elif first:
        navigate(urls.address(pages.CompareState(first, dictionary_id)))
    else:
        st.query_params.from_dict(codec.encode(replace(shown, first=dictionary_id)))
        st.rerun()


def short(model: str) -> str:
    """Return a model's name, shortened to leave room for the row."""
    return model if len(model) <= 26 else "…" + model[-25:]


def choose(name: str, label: str, options: list[str], now: str, words: dict[str, str]) -> None:
    """Show a choice that is stored in the URL."""
    key = f"library_{name}"

    def changed() -> None:
        changes = {name: st.session_state[key]} | ({"first": ""} if name == "click" else {})
        urls.change(pages.LibraryState, **changes)

    st.session_state[key] = now
    st.segmented_control(label, options, format_func=words.__getitem__, key=key, on_change=changed, required=True)


def table_of(records: list[DictionaryManifest]) -> pd.DataFrame:
    """Return settings and quality of dictionaries as a table, for downloads."""
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
