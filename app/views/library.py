"""The library page."""

import streamlit as st

from app import resources
from app.panels.jobs import is_running, show_jobs, show_start
from app.panels.library.grid import show_grid
from app.panels.library.pretrained import show_pretrained
from app.panels.library.table import show_corpora, show_damaged, show_table
from app.shell import chrome, urls
from app.state import codec, pages
from itda_core.jobs.read import read_jobs
from itda_core.library.manifest import DictionaryManifest, InvalidDictionary
from itda_core.library.starter import starter_ids


def show_library() -> None:
    """Show the complete page."""
    library = resources.library()
    found = resources.records()
    records = [record for record in found if isinstance(record, DictionaryManifest)]
    damaged = [each for each in found if isinstance(each, InvalidDictionary)]
    jobs = read_jobs(library.root)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.title("Library", width="content")
        with st.container(horizontal=True, width="content"):
            if records:
                st.page_link(urls.DECOMPOSE_PAGE, label="Decompose a text", icon=":material/function:")
                st.page_link(urls.QUALITY_PAGE, label="Quality", icon=":material/query_stats:")
            if len(records) > 1:
                st.page_link(urls.COMPARE_PAGE, label="Compare two", icon=":material/compare_arrows:")
                st.page_link(urls.SIMILARITY_PAGE, label="Similarity", icon=":material/grid_on:")
            if found:
                st.page_link(urls.BUILD_PAGE, label="Build a dictionary", icon=":material/add:")
    if {each.id for each in found} <= {*starter_ids()} and not is_running(jobs):
        show_start(jobs)
        jobs = read_jobs(library.root)
    if records:
        models = len({record.model for record in records})
        atoms = sum(record.n_atoms for record in records)
        st.caption(
            f"{len(records)} {'dictionary' if len(records) == 1 else 'dictionaries'} of {models} "
            f"{'model' if models == 1 else 'models'}, {atoms:,} atoms. Each cell is a dictionary: its number of atoms, "
            "and the relative error that was measured on it. Click one to read its atoms."
        )
    if is_running(jobs):
        show_jobs([job for job in jobs if job.status == "running"])
    if records:
        show_grid(records, codec.decode(pages.LibraryState, st.query_params))
        show_table(records)
    if damaged:
        show_damaged(damaged)
    show_pretrained(records, jobs)
    show_corpora()
    show_jobs([job for job in jobs if job.status != "running"])


with chrome.errors_shown():
    show_library()
