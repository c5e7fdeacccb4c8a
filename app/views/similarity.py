"""The page of layer similarity."""

import streamlit as st

from app import resources
from app.panels.similarity import benchmark, union
from app.panels.similarity.chooser import models, show_chooser
from app.panels.similarity.report import show_pair
from app.shell import chrome, urls
from app.state import codec, pages
from itda_core.common.errors import UserError


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
    st.caption("Every layer of one model against every layer of another, by what each makes of the same tokens.")
    show_chooser(shown, found)
    measured = None
    if not shown.a or not shown.b:
        st.text("Choose two models: two seeds, two sizes, or a model and one tuned from it.")
    else:
        try:
            measured = show_pair(shown)
        except UserError as error:
            chrome.show_error(error)
    bench = resources.layers_bench()
    union.show_wholes(measured, bench)
    if bench is not None:
        benchmark.show_accuracy(bench)
        benchmark.show_convergence(bench)


with chrome.errors_shown():
    show_similarity()
