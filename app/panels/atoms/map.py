"""Atoms page: the map, and selection on it."""

from typing import Any

import pandas as pd
import streamlit as st

from app import resources
from app.charts import atoms
from app.components.token_strip import token_strip
from app.format.tables import each
from app.format.text import number, share
from app.panels.atoms.address import go, widget
from app.panels.atoms.rows import row_of
from app.panels.jobs import offer_work
from app.shell import chrome, widgets
from app.state import codec, pages
from itda_core.common.errors import DamagedError
from itda_core.library.manifest import DictionaryManifest
from itda_core.queries.atoms import Index

COLOURS = {
    "density": "firing frequency",
    "strongest": "strongest coefficient",
    "error": "error at admission",
    "admission": "order of admission",
}
_TICKS = {"density": share, "strongest": number}
"""Formats of values that span orders of magnitude, as the coefficients of massive activations do."""


def show_map(record: DictionaryManifest, shown: pages.AtomsState, index: Index, matching: pd.DataFrame) -> None:
    """Show the map, or the button that computes one.

    A damaged map is reported in its place: the list does not need it.
    """
    try:
        places = resources.atom_map(record.id)
    except DamagedError as error:
        chrome.show_error(error, icon=":material/broken_image:")
        return
    if places is None:
        offer_map(record)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=205):
            st.selectbox("Map colour", list(COLOURS), format_func=COLOURS.__getitem__, **widget("colour", shown.colour))
        st.segmented_control("Pointer", pages.POINTERS, required=True, **widget("pointer", shown.pointer))
        if shown.region:
            st.button("Deselect", icon=":material/close:", type="tertiary", on_click=go, kwargs={"region": None})
    if shown.picked is not None and shown.picked < index.n_atoms:
        picked = index.rows([shown.picked])
        token_strip([row_of(record, shown, atom, atom) for atom in each(picked)], key="picked")
    column = {"density": "density", "strongest": "strongest", "error": "admission_error", "admission": "atom"}
    measured = matching.set_index("atom", drop=False)[column[shown.colour]].reindex(places["atom"]).to_numpy(float)
    lit = places["atom"].isin(matching["atom"]).to_numpy()
    widgets.figure(
        atoms.atom_map(
            places,
            lit,
            measured,
            log=shown.colour in _TICKS,
            tick=_TICKS.get(shown.colour, number),
            region=shown.region,
            picked=shown.picked,
            circling=shown.pointer == "circle",
        ),
        places,
        key="map",
        alt="Map of the atoms by direction. The list beside it has the same atoms",
        file=f"{record.id}-map.csv",
        on_select=map_selected,
        selection_mode=("points", "box", "lasso"),
    )
    st.caption(
        "Nearby atoms have similar directions. Pick one to see its source, or circle several to list only those."
    )


def map_selected() -> None:
    """Apply a selection or a click on the map to the URL."""
    selection = st.session_state["map"]["selection"]
    shapes = [*selection.get("lasso", []), *selection.get("box", [])]
    points = selection.get("points", [])
    if shapes:
        go(region=corners_of(shapes[-1]))
    elif points:
        data = points[0].get("customdata")
        go(picked=int(data[0] if isinstance(data, list) else data))


def selected_on_map(record: DictionaryManifest, region: codec.Polygon | None) -> tuple[int, ...] | None:
    """Return the atoms inside a region of the map.

    None where there is no region, or no readable map.
    """
    if not region:
        return None
    try:
        places = resources.atom_map(record.id)
    except DamagedError:
        return None  # `show_map` reports it
    return None if places is None else tuple(int(atom) for atom in places["atom"][atoms.inside(places, region)])


def corners_of(shape: dict[str, Any]) -> codec.Polygon | None:
    """Convert a box or a lasso to a polygon with few enough corners for a URL.

    None where fewer than three corners are left.
    """
    x, y = shape["x"], shape["y"]
    if len(x) == 2:
        x, y = [x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]]
    step = -(-len(x) // codec.MOST_CORNERS)
    corners = tuple((float(a), float(b)) for a, b in zip(x[::step], y[::step], strict=True))
    return corners if len(corners) >= 3 else None


def offer_map(record: DictionaryManifest) -> None:
    """Show that there is no map, and a button that computes one.

    The page reruns once the map exists.
    """
    offer_work(
        "This dictionary has no map yet. A map places atoms with similar directions near each other.",
        "Compute the map",
        ":material/scatter_plot:",
        ["map", record.id],
    )
