"""Similarity page: the heatmap, and the selected layer."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from app import resources
from app.charts import layers
from app.format.text import count, inert, number, share, visible
from app.panels import jobs
from app.panels.similarity.chooser import go, identity
from app.shell import chrome, urls, widgets
from app.state import pages
from itda_core.common.errors import UserError
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.layers import LAYER_MEASURES, OLD_REPORT, LayerSimilarity

MEASURE_HELP = {
    "jaccard": "Jaccard index of the two layers' sources: tokens chosen by both, divided by those chosen by either.",
    "shared_concordance": "Each token is described by its similarity to common sources and by the error that they "
    "leave; the value is the agreement of the two layers' descriptions.",
    "mutual_knn": "Mean share of a token's ten nearest neighbours in one layer that are among its ten nearest in the "
    "other.",
    "relative_representation": "Each token is described by its cosine similarities with 300 others; the value is the "
    "similarity of the two descriptions.",
    "linear_cka": "Similarity of the two layers' Gram matrices of inner products between tokens.",
    "linear_cka_debiased": "Linear CKA without its upward bias where tokens are few and dimensions many.",
    "svcca": "Mean canonical correlation of the directions that hold 99 % of each layer's variance. It favours layers "
    "with few directions: to find layers, take 20 directions.",
    "svcca_directions": "Mean canonical correlation of the 20 strongest directions of each layer, as in the ITDA "
    "paper's code.",
    "linear_regression": "Share of the variance of B's layer that a linear map of A's layer explains.",
}
"""Explanation of each measure, in a sentence or more."""


def best_of(row: tuple[float, ...]) -> list[int]:
    """Return the layers of B by similarity, the most similar first."""
    return sorted(range(len(row)), key=lambda layer: -row[layer])


def show_question(shown: pages.SimilarityState, found: LayerSimilarity, layer: int) -> None:
    """Show the question about the selected layer, and the measure's answer."""
    row = found.values[shown.measure][layer]
    first, *others = best_of(row)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Layer of **{inert(found.b)}** most similar to layer", width="content")
        st.session_state["similarity_layer"] = layer
        st.selectbox(
            "Layer of A",
            range(len(found.atoms[0])),
            key="similarity_layer",
            on_change=lambda: go(layer=st.session_state["similarity_layer"], other=None),
            label_visibility="collapsed",
            width=90,
        )
        st.markdown(f"of **{inert(found.a)}**", width="content")
    st.subheader(f"Layer {first}, with {number(row[first])}")
    if others:
        st.caption(f"Next: layer {others[0]}, with {number(row[others[0]])}. {MEASURE_HELP[shown.measure]}")


def show_cell(found: LayerSimilarity, records: list[DictionaryManifest], layer: int, other: int) -> None:
    """Show every measure's value for one cell, and the dictionaries of its layers."""
    st.subheader(f"Layer {layer} of A and layer {other} of B")
    table = pd.DataFrame(
        [
            {
                "measure": LAYER_MEASURES[name],
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
    widgets.download(table, key="cell_csv", file=f"layer-{layer}-and-layer-{other}.csv")
    by_site = {(identity(each), each.site.layer): each for each in [*chrome.sound_records(), *records]}
    sites = [by_site.get((identity(record), at)) for record, at in zip(records, (layer, other), strict=True)]
    a, b = sites
    if a is not None and b is not None:
        address = urls.address(pages.CompareState(a.id, b.id))
        widgets.link("Their shared atoms", address, "compare_arrows", key="shared")
        return
    missing = [
        f"layer {at} of {visible(record.model)}"
        for record, at, site in zip(records, (layer, other), sites, strict=True)
        if site is None
    ]
    st.text(f"To see their shared atoms, build a dictionary of {' and of '.join(missing)}.")
    st.page_link(urls.BUILD_PAGE, label="Build a dictionary", icon=":material/add:")


def show_report(shown: pages.SimilarityState, found: LayerSimilarity, records: list[DictionaryManifest]) -> None:
    """Show the measured similarities of two models."""
    offered = [name for name in LAYER_MEASURES if name in found.values]
    if shown.measure not in offered:
        shown = replace(shown, measure=offered[0])
    n_a, n_b = map(len, found.atoms)
    for side, wanted, n in (("A", shown.layer, n_a), ("B", shown.other, n_b)):
        if wanted is not None and wanted >= n:
            raise UserError(f"model {side} has no layer {wanted}: choose one of 0 to {n - 1}")
    layer = n_a // 2 if shown.layer is None else shown.layer
    show_question(shown, found, layer)
    st.session_state["similarity_measure"] = shown.measure
    st.selectbox(
        "Measure",
        offered,
        format_func=LAYER_MEASURES.__getitem__,
        key="similarity_measure",
        on_change=lambda: go(measure=st.session_state["similarity_measure"]),
        width=330,
    )
    values = found.values[shown.measure]
    other = best_of(values[layer])[0] if shown.other is None else shown.other
    left, right = st.columns([4, 3], gap="large")
    with left:
        selected = widgets.figure(
            layers.layers_heatmap(values, (found.a, found.b), (layer, other)),
            lambda: table_of(found),
            key=f"heatmap_{shown.measure}_{layer}_{other}",
            alt="Similarity of every layer of A to every layer of B; the download has the numbers",
            file=f"layers-{shown.measure}.csv",
            on_select="rerun",
            selection_mode="points",
        )
        st.caption("Rings mark the most similar layer of B for each layer of A. Click a cell for details.")
        if shown.measure in found.cautions:
            st.caption(inert(f"Caution: {found.cautions[shown.measure]}."))
    if points := selected.get("points"):
        found_at = points[0].get("customdata")
        picked = str(found_at[0] if isinstance(found_at, list) else found_at).split()
        if picked != [str(layer), str(other)] and all(each.isdecimal() for each in picked):
            go(layer=int(picked[0]), other=int(picked[1]))
            st.rerun()
    with right:
        show_cell(found, records, layer, other)
    for name, reason in found.left_out.items():
        st.caption(inert(f"{LAYER_MEASURES[name]} is left out: {reason}"))
    if found.unmeasured:
        st.caption(inert(f"{', '.join(LAYER_MEASURES[name] for name in found.unmeasured)}: {OLD_REPORT}."))
    show_notes(found)


def show_notes(found: LayerSimilarity) -> None:
    """Show the data on which everything was measured."""
    same = "the same tokens" if found.key == "token" else "tokens that end at the same character"
    words = [
        f"Measured on {count(found.tokens)} tokens of {found.corpus}: {same} in both",
        "."
        if min(found.coverage) == 1
        else f" ({share(found.coverage[0])} of A's, {share(found.coverage[1])} of B's).",
        f" The dictionaries are built from these tokens, at L0 {found.l0} and a threshold of {found.threshold:g}.",
    ]
    st.caption(inert("".join(words)))


def table_of(found: LayerSimilarity) -> pd.DataFrame:
    """Return all similarities as a table, a row each."""
    return pd.DataFrame(
        [
            {"measure": name, "layer of A": i, "layer of B": j, "similarity": value}
            for name, rows in found.values.items()
            for i, row in enumerate(rows)
            for j, value in enumerate(row)
        ]
    )


def show_pair(shown: pages.SimilarityState) -> LayerSimilarity | None:
    """Show and return the similarities of two models.

    Where they are not measured yet, show the button that measures them and return None.

    Raises UserError where there is no such dictionary or the report cannot be read.
    """
    records = [resources.library().record(each) for each in (shown.a, shown.b)]
    found = resources.layers(*records)
    if found is None:
        jobs.offer_work(
            "The similarity of all layers is measured once and stored. Both models read some text, which takes about a "
            "minute for small models.",
            "Measure all layers",
            ":material/grid_on:",
            ["similarity", shown.a, shown.b],
        )
        return None
    try:
        show_report(shown, found, records)
    except UserError as error:  # concerns the URL: the report itself is valid
        chrome.show_error(error)
    return found
