"""The quality page."""

import streamlit as st

from app import resources
from app.format.text import visible
from app.panels import jobs
from app.panels.quality import curves, probing, recipes, verdict
from app.panels.quality import saes as sae_view
from app.panels.quality.chooser import go, record_of, show_sae_choice
from app.panels.quality.pair import measured, show_built
from app.panels.quality.points import Subject
from app.resources import SaeRecord
from app.shell import chrome, urls, widgets
from app.state import codec, pages
from itda_core.common.errors import UserError
from itda_core.jobs.read import read_jobs
from itda_core.library.manifest import DictionaryManifest

_TABS = {"measured": "How good it is", "saes": "SAEs", "recipes": "Recipes", "probes": "Probes"}


def show_pair(shown: pages.QualityState, saes: dict[str, SaeRecord]) -> None:
    """Show the open tab: the reports on the chosen subjects, the SAEs of A's site, recipes, or probes."""
    a = resources.library().record(shown.a)
    chosen: dict[str, DictionaryManifest | SaeRecord] = {"a": a}
    if shown.b:
        chosen["b"] = record_of(shown.b, saes)
    names = chrome.dictionary_names() | sae_view.names(saes.values(), a)
    jobs.show_jobs(read_jobs(resources.library().root), brief=True)
    with widgets.tabs("quality", _TABS, shown.opened, go):
        if shown.opened == "saes":
            sae_view.show_saes(a, shown, saes, go)
        elif shown.opened == "recipes":
            recipes.show_recipes()
        elif shown.opened == "probes":
            beside = sae_view.names((each for each in saes.values() if each.is_of(a)), a)
            probing.show_probing(a, shown.probed, go, beside)
        else:
            show_sae_choice(shown, saes)
            show_measured(shown, chosen, names)


def show_measured(
    shown: pages.QualityState, chosen: dict[str, DictionaryManifest | SaeRecord], names: dict[str, str]
) -> None:
    """Show the reports on one or two subjects."""
    subjects: list[Subject] = []
    for column, (side, record) in zip(st.columns(len(chosen), gap="large"), chosen.items(), strict=True):
        with column:
            show_built(record, side, names)
            try:
                subject = measured(side, record, names[record.id])
            except UserError as error:  # concerns this report alone
                chrome.show_error(error)
                continue
            if subject is not None:
                verdict.show_answer(subject, len(chosen) == 1)
                subjects.append(subject)
    if subjects:
        if len(subjects) == 2:
            verdict.show_between(*subjects)
        verdict.show_basis(subjects)
        curves.show_curves(subjects, shown, go)
        curves.show_points(subjects, shown)


def show_quality() -> None:
    """Show the complete page."""
    st.title("How good is this dictionary?")
    try:
        shown = codec.decode(pages.QualityState, st.query_params)
    except UserError as error:
        known = chrome.dictionary_names()
        kept = {name: value for name in ("d", "e") if (value := st.query_params.get(name)) in known}
        chrome.show_error(error)
        st.button("Start anew", on_click=lambda: st.query_params.from_dict(kept))
        return
    names = chrome.dictionary_names()
    if not shown.a:
        st.text("This library has no dictionaries yet, so there is nothing to measure.")
        st.page_link(urls.LIBRARY_PAGE, label="Library", icon=":material/grid_view:")
        return
    st.set_page_config(page_title=f"Quality, {visible(names[shown.a])}" if shown.a in names else "Quality")
    saes = sae_view.known()
    try:
        show_pair(shown, saes)
    except UserError as error:
        chrome.show_error(error)


with chrome.errors_shown():
    show_quality()
