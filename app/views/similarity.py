"""The page of layer similarity."""

from typing import Any

import streamlit as st

from app import resources
from app.panels.similarity import benchmark, union
from app.panels.similarity.chooser import go, models, show_others
from app.panels.similarity.report import show_pair
from app.shell import chrome, urls, widgets
from app.state import codec, pages
from itda_core.common.errors import UserError

_TABS = {"pair": "These two models", "trust": "How far to trust it", "training": "During training"}


def show_similarity() -> None:
    """Show the complete page."""
    st.title("Similarity")
    try:
        shown = codec.decode(pages.SimilarityState, st.query_params)
    except UserError as error:
        chrome.show_error(error)
        st.button("Start anew", on_click=st.query_params.clear)
        return
    found = models()
    if not found:
        st.text("This library has no dictionaries yet, so there are no models to compare.")
        st.page_link(urls.LIBRARY_PAGE, label="Library", icon=":material/grid_view:")
        return
    st.caption("How alike the layers of two models are, from what each makes of the same tokens.")
    bench = resources.layers_bench()
    tabs = _TABS if bench is not None else {"pair": _TABS["pair"]}
    tab = shown.tab if shown.tab in tabs else "pair"
    with widgets.tabs("similarity", tabs, tab, go):
        if tab == "trust" and bench is not None:
            benchmark.show_accuracy(bench)
        elif tab == "training" and bench is not None:
            benchmark.show_convergence(bench)
        elif shown.a and shown.b:
            show_models(shown, bench)
        else:
            st.text(
                "Choose a second model, by one of its dictionaries, in the sidebar or here: another seed or size, or "
                "a model tuned from this one."
            )
            show_others(shown, found)


def show_models(shown: pages.SimilarityState, bench: dict[str, Any] | None) -> None:
    """Show two models, layer by layer and over all layers."""
    try:
        measured = show_pair(shown)
    except UserError as error:
        chrome.show_error(error)
        return
    if measured is not None:
        union.show_wholes(measured, bench)


with chrome.errors_shown():
    show_similarity()
