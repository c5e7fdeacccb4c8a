"""Library page: the offer to build a library of a pretrained model."""

import streamlit as st

from app.panels.jobs import offer_work
from itda_core.jobs.state import JobState
from itda_core.library.manifest import DictionaryManifest
from itda_core.models.bundled import demo_models
from itda_core.models.smollm2 import INSTALL_SMOLLM2, smollm2_file

_COMMAND = ["demo", "--model", "smollm2"]


def show_pretrained(records: list[DictionaryManifest], jobs: list[JobState]) -> None:
    """Offer dictionaries of SmolLM2 while the library has none but those of the demo's small models."""
    is_under_way = any(job.arguments == _COMMAND and job.status == "running" for job in jobs)
    if is_under_way or not {record.model for record in records} <= {*demo_models()}:
        return
    if smollm2_file() is not None:
        offer_work(
            "SmolLM2 is a pretrained model with 135 million parameters. Its first dictionary takes about three minutes "
            "on two cores.",
            "Build dictionaries of SmolLM2",
            ":material/play_arrow:",
            _COMMAND,
            follow=False,
        )
        return
    with st.container(border=True):
        st.text("To use a pretrained model, install SmolLM2 and reload this page:")
        st.code(INSTALL_SMOLLM2, language=None)
