"""The library page."""

import streamlit as st

from app import resources
from app.panels.jobs import is_running, show_failure, show_jobs, show_start
from app.panels.library.grid import show_grid
from app.panels.library.pretrained import show_pretrained
from app.panels.library.table import show_corpora, show_damaged, show_removal, show_table
from app.shell import chrome
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
    st.title("Library")
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
    show_jobs(jobs)
    show_failure(jobs)
    if records:
        show_grid(records, codec.decode(pages.LibraryState, st.query_params))
        show_table(records)
    if damaged:
        show_damaged(damaged)
    if found:
        show_removal([each.id for each in found])
    show_pretrained(records, jobs)
    show_corpora()


with chrome.errors_shown():
    show_library()
