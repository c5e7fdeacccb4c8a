"""The page of the library's jobs."""

import streamlit as st

from app import resources
from app.panels.jobs import is_running, show_ended, show_jobs
from app.shell import chrome, urls
from itda_core.jobs.read import read_jobs


def show_all_jobs() -> None:
    """Show the complete page."""
    st.title("Jobs")
    st.set_page_config(page_title="Jobs")
    jobs = read_jobs(resources.library().root)
    if is_running(jobs):
        show_jobs(jobs)
    elif all(job.is_dismissed for job in jobs):
        st.text(
            "Long work, such as a build or a comparison, runs as a job, and this page shows how far it is. None is "
            "running now."
        )
        st.page_link(urls.BUILD_PAGE, label="Build a dictionary", icon=":material/add:")
    else:
        st.text("No job is running.")
    show_ended(jobs)


with chrome.errors_shown():
    show_all_jobs()
