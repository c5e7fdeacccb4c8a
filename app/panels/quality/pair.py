"""Quality page: how a dictionary was built and measured."""

from dataclasses import replace

import streamlit as st

from app import resources
from app.format.text import count, inert
from app.panels import jobs
from app.panels.quality import saes
from app.panels.quality.points import Subject
from app.resources import SaeRecord
from app.shell import chrome, urls, widgets
from app.state import codec, pages
from itda_core.common.errors import DamagedError
from itda_core.library.manifest import DictionaryManifest

MEASURE = (
    "Measures the dictionary at several sizes and L0, with random atoms as a baseline, on held-out or later text. "
    "This takes some minutes for a small model; the report is stored."
)


def show_built(record: DictionaryManifest | SaeRecord, side: str, names: dict[str, str]) -> None:
    """Show a link to the dictionary or SAE of a side, and how it was made."""
    if isinstance(record, DictionaryManifest):
        settings = record.settings
        words = [
            f"{count(record.n_atoms)} atoms from {count(record.n_tokens)} tokens",
            f"L0 {settings.l0}",
            f"threshold {widgets.threshold_of(record)}",
            *(["mean subtracted"] if record.settings.center == "mean" else []),
            f"recipe: {settings.recipe}",
        ]
        address = urls.atoms_address(record.id)
    else:
        words = [saes.trained(record)]
        address = urls.address(replace(codec.decode(pages.QualityState, st.query_params), sae=record.id, tab=None))
    widgets.link(names[record.id], address, key=f"built_{side}", side=side)
    st.caption(inert(", ".join(words)))


def measured(side: str, record: DictionaryManifest | SaeRecord, name: str) -> Subject | None:
    """Return the dictionary or SAE of a side with its report.

    Where there is no report, show how to get one and return None.

    Raises DamagedError where the report on an SAE cannot be read.
    """
    if not isinstance(record, DictionaryManifest):
        subject = saes.subject_of(record, name, side)
        if subject is None:
            st.text("This SAE is not measured. Run its itda sae command again to measure it.")
        return subject
    try:
        report = resources.quality(record.id)
    except DamagedError as error:  # the job replaces the report
        chrome.show_error(error)
        report = None
    if report is None:
        jobs.offer_work(
            MEASURE, f"Measure {side.upper()}", ":material/query_stats:", ["measure", record.id], follow=False
        )
        return None
    return Subject(side, record.id, name, record.n_atoms, record.settings.l0, False, report)
