"""The atoms of a dictionary: a map and a list, each filtering the other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import figures, parts, resources, state
from app.components.token_strip import Row, Token, token_strip
from app.jobs_view import offer_work
from app.tables import each
from app.text import count, inert, number, share, visible
from itda_core.library import DictionaryRecord
from itda_core.queries import AtomFilter, Index
from itda_core.types import DamagedError, UserError

PAGE_ROWS = 50
SCOPES = {"source": "in the source passage", "token": "in the source token", "context": "where it fires most"}
SORTS = {
    "admission": "as admitted",
    "densest": "fires on most tokens",
    "rarest": "fires on fewest tokens",
    "strongest": "strongest first",
    "weakest": "weakest first",
    "negative": "most negative first",
    "surprising": "largest error at admission",
    "expected": "smallest error at admission",
}
COLOURS = {
    "density": "how often it fires",
    "strongest": "strongest coefficient",
    "error": "error at admission",
    "admission": "order of admission",
}
RANGES = {
    "density": "Share of tokens it fires on",
    "strongest": "Strongest coefficient",
    "error": "Error at admission",
}
STEPS = 200
MOST_DIGITS = 12


def go(**changes: Any) -> None:
    """Change what the page shows; a changed filter starts at the first page of the list."""
    if "page" not in changes and not changes.keys() <= {"colour", "pointer", "picked"}:
        changes["page"] = 1
    parts.change(state.AtomsState, **changes)


def widget(name: str, value: Any) -> dict[str, Any]:
    """Key and callback of a widget that shows one field of the address, set to that field's value."""
    key = f"atoms_{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: go(**{name: st.session_state[key]})}


def show_header(record: DictionaryRecord, index: Index) -> None:
    """Which dictionary this is."""
    settings = record.settings
    name = parts.dictionary_names()[record.id]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title(inert(name), width="content")
        with st.container(horizontal=True, width="content"):
            parts.link("Decompose a text", parts.decompose_address(record.id), "function", key="decompose")
            parts.link(
                "How good is it?", parts.quality_address(state.QualityState(record.id)), "query_stats", key="quality"
            )
    st.set_page_config(page_title=f"Atoms, {visible(name)}")
    if not record.has_text:
        st.text(
            f"{record.n_atoms:,} atoms, imported without a text: it is known which are alike, and neither where they "
            "came from nor where they fire. Import them again with --model and --corpus for that."
        )
        return
    held = "held-out tokens" if record.holdout else "tokens"
    st.text(
        f"{record.n_atoms:,} atoms from {record.n_tokens:,} tokens of {record.corpus}, admitted over an error of "
        f"{parts.threshold_of(record)}; with {settings.l0} steps they leave a relative error of "
        f"{number(record.relative_error)} on {record.measured_tokens:,} {held}."
    )
    if record.energy is not None and (note := record.energy.note()):
        st.caption(f"{note}.")


def show_filters(shown: state.AtomsState, index: Index) -> None:
    """One line of filters."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=245):
            st.text_input(
                "Search", placeholder="text", icon=":material/search:", max_chars=200, **widget("text", shown.text)
            )
        with st.container(width=195):
            st.selectbox("Where", list(SCOPES), format_func=SCOPES.__getitem__, **widget("scope", shown.scope))
        with st.container(width=205):
            st.selectbox("Order", list(SORTS), format_func=SORTS.__getitem__, **widget("sort", shown.sort))
        active = sum(getattr(shown, name) is not None for name in (*RANGES, "first"))
        with st.popover(f"Ranges ({active})" if active else "Ranges", icon=":material/tune:"):
            for name, (low, high) in index.ranges().items():
                show_range(name, low, high, getattr(shown, name))
            show_first(index.n_atoms, shown.first)
        if shown.region or shown.where(None) != AtomFilter():
            st.button(
                "Clear all",
                icon=":material/close:",
                type="tertiary",
                on_click=go,
                kwargs={"text": "", "scope": "source", "region": None, "first": None, **dict.fromkeys(RANGES)},
            )


def show_range(name: str, low: float, high: float, now: state.Range | None) -> None:
    """A slider over one statistic; its whole length is no condition at all."""
    if not low < high:
        st.caption(f"{RANGES[name]}: {number(low)} for every atom")
        return
    scale, unit = (100, " %%") if name == "density" else (1, "")
    # A little wider than the values, which came through single precision, so that the ends hold the extremes.
    margin = (high - low) * 1e-6
    low, high = (low - margin) * scale, (high + margin) * scale
    key = f"atoms_{name}"
    chosen = (now[0] * scale, now[1] * scale) if now else (low, high)
    st.session_state[key] = (min(max(chosen[0], low), high), max(min(chosen[1], high), low))

    def changed() -> None:
        value = st.session_state[key]
        is_whole = value[0] <= low and value[1] >= high
        go(**{name: None if is_whole else (value[0] / scale, value[1] / scale)})

    digits = min(max(0, 2 - int(np.floor(np.log10(high - low)))), MOST_DIGITS)
    shown = f"%.{digits}f{unit}"
    st.slider(RANGES[name], low, high, step=(high - low) / STEPS, format=shown, key=key, on_change=changed)


def show_first(n_atoms: int, now: int | None) -> None:
    """A slider over the order of admission: only the first so many; its whole length is no condition at all."""
    if n_atoms < 2:
        return
    key = "atoms_first"
    st.session_state[key] = min(now or n_atoms, n_atoms)

    def changed() -> None:
        value = st.session_state[key]
        go(first=None if value >= n_atoms else value)

    st.slider("Among the first atoms", 1, n_atoms, key=key, on_change=changed)


def show_map(record: DictionaryRecord, shown: state.AtomsState, index: Index, matching: pd.DataFrame) -> None:
    """The map, or a way to get one. Where it is damaged, that is said in its place: the list needs none."""
    try:
        places = resources.atom_map(record.id)
    except DamagedError as error:
        parts.show_error(error, icon=":material/broken_image:")
        return
    if places is None:
        offer_map(record)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=205):
            st.selectbox("Map colour", list(COLOURS), format_func=COLOURS.__getitem__, **widget("colour", shown.colour))
        st.segmented_control("Pointer", state.POINTERS, required=True, **widget("pointer", shown.pointer))
        if shown.region:
            st.button("Deselect", icon=":material/close:", type="tertiary", on_click=go, kwargs={"region": None})
    if shown.picked is not None and shown.picked < index.n_atoms:
        page = index.page(AtomFilter(atoms=(shown.picked,)))
        token_strip([row_of(record.id, atom) for atom in each(page)], key="picked")
    column = {"density": "density", "strongest": "strongest", "error": "admission_error", "admission": "atom"}
    measured = matching.set_index("atom", drop=False)[column[shown.colour]].reindex(places["atom"]).to_numpy(float)
    lit = places["atom"].isin(matching["atom"]).to_numpy()
    parts.figure(
        figures.atom_map(
            places,
            lit,
            measured,
            log=shown.colour == "density",
            region=shown.region,
            picked=shown.picked,
            circling=shown.pointer == "circle",
        ),
        places,
        key="map",
        alt="Map of the atoms: near means alike in direction. The list beside it has the same atoms",
        file=f"{record.id}-map.csv",
        on_select=map_selected,
        selection_mode=("points", "box", "lasso"),
    )
    st.caption("Near means alike in direction. Pick one to see its source; circle some to list only those.")


def map_selected() -> None:
    """Take over what was circled or clicked on the map."""
    selection = st.session_state["map"]["selection"]
    shapes = [*selection.get("lasso", []), *selection.get("box", [])]
    points = selection.get("points", [])
    if shapes:
        go(region=corners_of(shapes[-1]))
    elif points:
        data = points[0].get("customdata")
        go(picked=int(data[0] if isinstance(data, list) else data))


def selected_on_map(record: DictionaryRecord, region: state.Polygon | None) -> tuple[int, ...] | None:
    """The atoms inside a region of the map; None where there is no region, or no map that can be read."""
    if not region:
        return None
    try:
        places = resources.atom_map(record.id)
    except DamagedError:
        return None  # `show_map` says so
    return None if places is None else tuple(int(atom) for atom in places["atom"][figures.inside(places, region)])


def corners_of(shape: dict[str, Any]) -> state.Polygon | None:
    """A box or a lasso as a polygon of few enough corners for an address."""
    x, y = shape["x"], shape["y"]
    if len(x) == 2:
        x, y = [x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]]
    step = -(-len(x) // state.MOST_CORNERS)
    corners = tuple((float(a), float(b)) for a, b in zip(x[::step], y[::step], strict=True))
    return corners if len(corners) >= 3 else None


def offer_map(record: DictionaryRecord) -> None:
    """Say that there is no map, and compute one; the page starts over once it is there."""
    offer_work(
        "This dictionary has no map yet. It places atoms that are alike in direction near each other.",
        "Compute the map",
        ":material/scatter_plot:",
        ["map", record.id],
    )


def row_of(dictionary_id: str, atom: Any) -> Row:
    """An atom as a line of the list: its source, then its numbers."""
    return Row(
        [Token(atom.before), Token(atom.label or "∅", is_centre=True), Token(atom.after)],
        [share(atom.density), number(atom.strongest), number(atom.admission_error)],
        href=parts.atom_address(dictionary_id, int(atom.atom)),
        lead=str(atom.atom),
    )


def show_list(
    record: DictionaryRecord, shown: state.AtomsState, index: Index, selected: tuple[int, ...] | None
) -> None:
    """One page of the list."""
    where = shown.where(selected)
    total = index.count(where)
    sort, descending = state.SORTS[shown.sort]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.text(f"{total:,} of {index.n_atoms:,} atoms")
        parts.download(
            lambda: index.page(where, sort, descending, limit=max(total, 1)),
            key="atoms_csv",
            file=f"{record.id}-atoms.csv",
            label="List as CSV",
        )
    if shown.first is not None and shown.first < index.n_atoms:
        first = count(shown.first)
        st.caption(f"Only the first {first} of its atoms: what a dictionary cropped to {first} has.")
    if not total:
        show_nothing(shown)
        return
    pages = -(-total // PAGE_ROWS)
    page = min(shown.page, pages)
    atoms = index.page(where, sort, descending, (page - 1) * PAGE_ROWS, PAGE_ROWS)
    token_strip(
        [row_of(record.id, atom) for atom in each(atoms)],
        key="atoms",
        columns=["Source of the atom", "fires on", "strongest", "error"],
    )
    if pages > 1:
        # Its key names the page, because the address alone says which page it is on.
        key = f"atoms_page_{page}"
        st.pagination(pages, default=page, key=key, on_change=lambda: go(page=st.session_state[key]))


def show_nothing(shown: state.AtomsState) -> None:
    """Why no atom is listed, and what to do."""
    reasons = [f"no atom has “{shown.text}” {SCOPES[shown.scope]}"] if shown.text else []
    reasons += [f"the range of “{RANGES[name].lower()}” is narrow" for name in RANGES if getattr(shown, name)]
    reasons += [f"only the first {count(shown.first)} atoms are listed"] if shown.first else []
    reasons += ["the selection on the map holds none of the others"] if shown.region else []
    st.text("Nothing found: " + (", or ".join(reasons) or "this dictionary has no atoms") + ".")
    other = "in the contexts where it fires" if shown.scope != "context" else "in the source passage"
    st.text(f"Search {other}, widen a range, or clear the filters." if reasons else "Build it from more tokens.")


def changed_address(error: UserError, reset: Callable[[], None]) -> None:
    """An address that cannot be read, and a way out of it."""
    st.title("Atoms")
    parts.show_error(error)
    st.button("Start without filters", on_click=reset)


def show_atoms() -> None:
    """The whole page."""
    try:
        shown = state.decode(state.AtomsState, st.query_params)
    except UserError as error:
        wanted = st.query_params.get("d", "")
        changed_address(error, lambda: st.query_params.from_dict({"d": wanted}))
        return
    if not shown.dictionary:
        parts.show_no_dictionary("Atoms")
        return
    record = resources.library().record(shown.dictionary)
    index = resources.index(record.id)
    show_header(record, index)
    show_filters(shown, index)
    selected = selected_on_map(record, shown.region)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        show_map(record, shown, index, index.matching(shown.where(selected)))
    with right:
        show_list(record, shown, index, selected)


with parts.errors_shown():
    show_atoms()
