"""The build page."""

import streamlit as st

from app import resources
from app.panels.build.fields import show_form
from app.panels.build.form import arguments, check
from app.panels.build.own_text import show_own_text
from app.panels.build.plan import show_plan
from app.panels.jobs import show_jobs, show_outcome
from app.shell import chrome
from app.state import codec
from app.state.pages import BuildState
from itda_core.common.errors import UserError
from itda_core.corpus.store import Corpus
from itda_core.jobs.read import read_jobs


def show_build() -> None:
    """Show the complete page."""
    st.title("Build")
    try:
        form = codec.decode(BuildState, st.query_params)
    except UserError as error:
        chrome.show_error(error)
        st.button("Start afresh", on_click=st.query_params.clear)
        return
    st.text(
        "A dictionary of a model's activations, for each layer and place that you name. It is built in a process of "
        "its own: you can close this page meanwhile."
    )
    jobs = read_jobs(resources.library().root)
    running = [job for job in jobs if job.status == "running"]
    show_jobs(running)
    ended = (job for job in jobs if job.status != "running" and not job.is_dismissed)
    followed = next((job for job in ended if job.id == form.job), None)
    if followed is not None:
        show_outcome(followed)
    checked = check(form)
    corpora = [corpus for corpus in resources.corpora() if isinstance(corpus, Corpus)]
    left, right = st.columns([3, 2], gap="large")
    with left:
        show_own_text()
        show_form(form, checked, corpora)
    with right:
        show_plan(form, checked, corpora, any(job.arguments == arguments(form) for job in running))


with chrome.errors_shown():
    show_build()
