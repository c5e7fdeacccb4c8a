"""Which layer of one model is which layer of another, by every measure."""

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from app import bench_view, jobs_view, layer_figures, parts, resources, state, wholes_view
from app.text import count, inert, number, share, visible
from itda_core.layers import MEASURES, OLD_REPORT, LayerSimilarity
from itda_core.library import DictionaryRecord
from itda_core.types import UserError

SAID = {
    "jaccard": "Of the tokens that either layer's dictionary chose as atoms, the share that both chose.",
    "shared_concordance": "Both layers tell every token by the same places of the text, those that most dictionaries "
    "chose: how near it is to each, and how much of it they leave unexplained; this is how far the two agree.",
    "mutual_knn": "Of the ten tokens nearest to a token in the one layer, the share that is among its ten nearest in "
    "the other, on average.",
    "relative_representation": "Each token is described by its cosines with 300 others; this is how alike the two "
    "descriptions are.",
    "linear_cka": "How alike the two layers' tables of inner products between tokens are.",
    "linear_cka_debiased": "Linear CKA less what chance alone gives, which is much where tokens are few and dimensions "
    "many; of many tokens the two are the same.",
    "svcca": "The mean canonical correlation of the directions that hold 99 % of each layer's variance. They are "
    "another number in each layer, and a layer of few finds all of its own in one of many, so the largest value is "
    "seldom that of the same depth: to find layers, take 20 directions.",
    "svcca_directions": "The mean canonical correlation of the 20 strongest directions of each layer, which is what "
    "the ITDA paper's figures for SVCCA are of.",
    "linear_regression": "How much of the variance of B's layer a linear map of A's layer explains.",
}
"""What each measure says, in a sentence."""


def go(**changes: Any) -> None:
    """Change what the page shows."""
    parts.change(state.SimilarityState, **changes)


def models() -> dict[str, DictionaryRecord]:
    """A dictionary of each model that the library has, by what the model is called here."""
    found: dict[tuple, DictionaryRecord] = {}
    for record in parts.sound_records():
        found.setdefault(_identity(record), record)
    names = [record.model for record in found.values()]
    return {record.model if names.count(record.model) == 1 else _long_name(record): record for record in found.values()}


def _identity(record: DictionaryRecord) -> tuple:
    return record.model, record.weights_sha256, record.revision, record.corpus, record.site.hook, record.cut


def _long_name(record: DictionaryRecord) -> str:
    """A model's name with all that may tell it from another of that name."""
    weights, revision = (record.weights_sha256 or "")[:8], (record.revision or "")[:8]
    cut = f"{record.cut.context} tokens, {record.cut.windows}" + (", first kept" if record.cut.keep_first else "")
    return " · ".join(filter(None, [record.model, record.site.hook, record.corpus, cut, weights, revision]))


def show_chooser(shown: state.SimilarityState, found: dict[str, DictionaryRecord]) -> None:
    """Which two models: A down the side of the heatmap, B along it."""
    by_identity = {_identity(record): name for name, record in found.items()}
    records = {record.id: record for record in parts.sound_records()}
    for column, side, now in zip(st.columns(2), ("a", "b"), (shown.a, shown.b), strict=True):
        key = f"similarity_{side}"
        st.session_state[key] = by_identity.get(_identity(records[now])) if now in records else None

        def changed(side: str = side, key: str = key) -> None:
            chosen = st.session_state[key]
            go(**{side: found[chosen].id if chosen else "", "layer": None, "other": None})

        column.selectbox(
            f"Model {side.upper()}", list(found), index=None, placeholder="choose a model", key=key, on_change=changed
        )


def best_of(row: tuple[float, ...]) -> list[int]:
    """Layers of B by how alike they are, the most alike first."""
    return sorted(range(len(row)), key=lambda layer: -row[layer])


def show_question(shown: state.SimilarityState, found: LayerSimilarity, layer: int) -> None:
    """The question, with the layer that it is about, and what the measure answers."""
    row = found.values[shown.measure][layer]
    first, *others = best_of(row)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Which layer of **{inert(found.b)}** is layer", width="content")
        st.session_state["similarity_layer"] = layer
        st.selectbox(
            "Layer of A",
            range(len(found.atoms[0])),
            key="similarity_layer",
            on_change=lambda: go(layer=st.session_state["similarity_layer"], other=None),
            label_visibility="collapsed",
            width=90,
        )
        st.markdown(f"of **{inert(found.a)}**?", width="content")
    st.subheader(f"Layer {first}, with {number(row[first])}")
    if others:
        st.caption(f"Next is layer {others[0]}, with {number(row[others[0]])}. {SAID[shown.measure]}")


def show_cell(found: LayerSimilarity, records: list[DictionaryRecord], layer: int, other: int) -> None:
    """What stands behind one cell: every measure's value, and the dictionaries of the two layers."""
    st.subheader(f"Layer {layer} of A and layer {other} of B")
    table = pd.DataFrame(
        [
            {
                "measure": MEASURES[name],
                "similarity": values[layer][other],
                "best in B": best_of(values[layer])[0],
            }
            for name, values in found.values.items()
        ]
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "similarity": st.column_config.NumberColumn(format="%.3f", width=85),
            "best in B": st.column_config.NumberColumn(width=80),
        },
    )
    parts.download(table, key="cell_csv", file=f"layer-{layer}-and-layer-{other}.csv")
    by_site = {(_identity(each), each.site.layer): each for each in [*parts.sound_records(), *records]}
    sites = [by_site.get((_identity(record), at)) for record, at in zip(records, (layer, other), strict=True)]
    a, b = sites
    if a is not None and b is not None:
        address = parts.compare_address(state.CompareState(a.id, b.id))
        parts.link("Their shared atoms", address, "compare_arrows", key="shared")
        return
    missing = [
        f"layer {at} of {visible(record.model)}"
        for record, at, site in zip(records, (layer, other), sites, strict=True)
        if site is None
    ]
    st.text(f"To see the atoms that they share, build a dictionary of {' and of '.join(missing)}.")
    st.page_link(parts.BUILD_PAGE, label="Build a dictionary", icon=":material/add:")


def show_report(shown: state.SimilarityState, found: LayerSimilarity, records: list[DictionaryRecord]) -> None:
    """The measured similarities of two models."""
    offered = [name for name in MEASURES if name in found.values]
    if shown.measure not in offered:
        shown = replace(shown, measure=offered[0])
    n_a, n_b = map(len, found.atoms)
    for side, asked, n in (("A", shown.layer, n_a), ("B", shown.other, n_b)):
        if asked is not None and asked >= n:
            raise UserError(f"model {side} has no layer {asked}: choose one of 0 to {n - 1}")
    layer = n_a // 2 if shown.layer is None else shown.layer
    show_question(shown, found, layer)
    st.session_state["similarity_measure"] = shown.measure
    st.selectbox(
        "Measure",
        offered,
        format_func=MEASURES.__getitem__,
        key="similarity_measure",
        on_change=lambda: go(measure=st.session_state["similarity_measure"]),
        width=330,
    )
    values = found.values[shown.measure]
    other = best_of(values[layer])[0] if shown.other is None else shown.other
    left, right = st.columns([4, 3], gap="large")
    with left:
        selected = parts.figure(
            layer_figures.layers_heatmap(values, (found.a, found.b), (layer, other)),
            lambda: table_of(found),
            key=f"heatmap_{shown.measure}_{layer}_{other}",
            alt="Similarity of every layer of A to every layer of B; the download has the numbers",
            file=f"layers-{shown.measure}.csv",
            on_select="rerun",
            selection_mode="points",
        )
        st.caption("A ring marks the layer of B that is most like each layer of A. Click a cell to look behind it.")
        if shown.measure in found.cautions:
            st.caption(inert(f"Mind: {found.cautions[shown.measure]}."))
    if points := selected.get("points"):
        found_at = points[0].get("customdata")
        picked = str(found_at[0] if isinstance(found_at, list) else found_at).split()
        if picked != [str(layer), str(other)] and all(each.isdecimal() for each in picked):
            go(layer=int(picked[0]), other=int(picked[1]))
            st.rerun()
    with right:
        show_cell(found, records, layer, other)
    for name, why in found.left_out.items():
        st.caption(inert(f"{MEASURES[name]} is left out: {why}"))
    if found.unmeasured:
        st.caption(inert(f"{', '.join(MEASURES[name] for name in found.unmeasured)}: {OLD_REPORT}."))
    show_notes(found)


def show_notes(found: LayerSimilarity) -> None:
    """On what all this was measured."""
    same = "the same tokens" if found.key == "token" else "tokens that end at the same character"
    words = [
        f"Measured on {count(found.tokens)} tokens of {found.corpus}: {same} in both",
        "."
        if min(found.coverage) == 1
        else f" ({share(found.coverage[0])} of those that A read, {share(found.coverage[1])} of B's).",
        f" The dictionaries are built anew from these tokens, at L0 {found.l0} and a threshold of {found.threshold:g}.",
    ]
    st.caption(inert("".join(words)))


def table_of(found: LayerSimilarity) -> pd.DataFrame:
    """All similarities, a row each."""
    return pd.DataFrame(
        [
            {"measure": name, "layer of A": i, "layer of B": j, "similarity": value}
            for name, rows in found.values.items()
            for i, row in enumerate(rows)
            for j, value in enumerate(row)
        ]
    )


def show_pair(shown: state.SimilarityState) -> LayerSimilarity | None:
    """The similarities of two models, or the way to have them measured; returns them.

    Raises UserError where there is no such dictionary or the report cannot be read.
    """
    records = [resources.library().record(each) for each in (shown.a, shown.b)]
    found = resources.layers(*records)
    if found is None:
        jobs_view.offer_work(
            "How alike their layers are is measured once and kept: both models read some text, which takes about a "
            "minute for small ones.",
            "Measure all layers",
            ":material/grid_on:",
            ["similarity", shown.a, shown.b],
        )
        return None
    try:
        show_report(shown, found, records)
    except UserError as error:  # of the address: the report itself holds
        parts.show_error(error)
    return found


def show_similarity() -> None:
    """The whole page."""
    st.title("Similarity")
    try:
        shown = state.decode(state.SimilarityState, st.query_params)
    except UserError as error:
        parts.show_error(error)
        st.button("Start anew", on_click=st.query_params.clear)
        return
    found = models()
    if not found:
        st.text("This library has no dictionaries yet, so there are no models to compare.")
        st.page_link(parts.LIBRARY_PAGE, label="Library", icon=":material/grid_view:")
        return
    st.caption("Every layer of one model against every layer of another, by what each makes of the same tokens.")
    show_chooser(shown, found)
    measured = None
    if not shown.a or not shown.b:
        st.text("Choose two models: two seeds, two sizes, or a model and one tuned from it.")
    else:
        try:
            measured = show_pair(shown)
        except UserError as error:
            parts.show_error(error)
    bench = resources.layers_bench()
    wholes_view.show_wholes(measured, bench)
    if bench is not None:
        bench_view.show_accuracy(bench)
        bench_view.show_convergence(bench)


with parts.errors_shown():
    show_similarity()
