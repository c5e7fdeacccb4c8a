"""Build page: cost, plan and start of a build."""

import shlex

import streamlit as st

from app import resources
from app.format.text import count, inert, size, span
from app.panels.build.fields import go
from app.panels.build.form import Checked, arguments
from app.shell import chrome
from app.state.pages import BuildState
from itda_core.build.estimate import BuildRequest, Estimate, estimate
from itda_core.common.text import one_line
from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import HOLDOUT


def show_cost(request: BuildRequest, cost: Estimate) -> None:
    """Show the estimated cost of the build, and the basis of the estimate."""
    with st.grid(2, min_column_width=100, gap="small"):
        st.metric("Tokens", count(cost.tokens))
        st.metric("Time", "unknown" if cost.seconds is None else span(*cost.seconds))
        st.metric("Memory", "unknown" if cost.memory is None else size(cost.memory), help=inert(memory_basis(request)))
        st.metric("Disk", size(cost.disk), help=disk_basis(request, cost))
        if cost.transfer is not None:
            st.metric("Transfer", size(cost.transfer))
    made = "one dictionary" if cost.n_sites == 1 else f"{cost.n_sites} dictionaries"
    st.caption(f"Result: {made}. {passes_text(cost)}")
    st.caption(inert(time_basis(request, cost)))
    if cost.documents is not None and cost.documents < HOLDOUT and request.build.holdout:
        some = "a single document" if cost.documents == 1 else f"only {cost.documents} documents"
        st.warning(
            f"The corpus has {some}, so none is held out: choose a longer text, or tick Build from every document "
            "under More.",
            icon=":material/short_text:",
        )
    if cost.disk + cost.scratch > cost.free_disk:
        st.warning(f"The library's disk has only {size(cost.free_disk)} free.", icon=":material/hard_drive:")
    if cost.is_for_remote:
        st.warning(
            "This model is too large for most machines"
            + (f"; this one has {size(cost.machine_memory)} of memory" if cost.machine_memory else "")
            + ". Use NDIF instead: tick Run the model on NDIF under More.",
            icon=":material/cloud:",
        )


def passes_text(cost: Estimate) -> str:
    """Return how often the model reads the texts, and the disk space for that, as text."""
    if cost.passes == 1:
        scratch = f" The activations take {size(cost.scratch)} of disk during the build." if cost.scratch else ""
        return f"The model reads the texts once.{scratch}"
    return f"The model reads the texts about {cost.passes} times: the disk has no room for the activations."


def time_basis(request: BuildRequest, cost: Estimate) -> str:
    """Return the basis of the time estimate, as text."""
    if request.remote:
        return "Time unknown: it depends on NDIF's queue. Results received so far are kept if the build is stopped."
    if not cost.runs:
        if request.shape.d_model is None:
            return "Time unknown: this model is not on this machine, and the library has no run of it."
        return "Time unknown: the library has no run of any model yet."
    last = cost.runs[0]
    runs = "the last run" if len(cost.runs) == 1 else f"the last {len(cost.runs)} runs"
    layers = ("layer " if len(last.layers) == 1 else "layers ") + ", ".join(map(str, last.layers))
    text = (
        f"Time estimated from {runs} of {last.model} in this library; latest: {layers}, {last.rate:,.0f} tokens a "
        "second."
    )
    if not 0.95 < cost.scale < 1.05:
        text += f" This build needs about {cost.scale:.2g} times the computation per token."
    if request.dictionary.method == "orthogonal":
        text += " Orthogonal matching pursuit takes many times longer."
    if request.dictionary.recipe == "pruned":
        text += " Pruning adds some seconds for a thousand atoms, and more for larger dictionaries."
    if request.dictionary.n_atoms is not None:
        text += " Finding the threshold adds some builds from the same activations."
    return text + " Reading the corpus, loading the model and computing maps are not included."


def memory_basis(request: BuildRequest) -> str:
    """Return the basis of the memory estimate, as text."""
    n = request.shape.n_parameters
    if request.remote:
        return "About 1 GB for the program, and the atoms; the model runs on NDIF."
    if n is None:
        return "The size of this model is not known before it is downloaded."
    known = "" if request.shape.is_counted else " (by its name)"
    amount = f"{n / 1e9:.3g} billion" if n >= 1e9 else f"{n / 1e6:.3g} million"
    return f"{amount} parameters{known} in {request.dtype}, about 1 GB for the program, and the atoms."


def disk_basis(request: BuildRequest, cost: Estimate) -> str:
    """Return the basis of the disk estimate, as text."""
    fetched = (
        "" if request.shape.is_local or request.shape.is_counted else " The download of the model is not included."
    )
    return f"Estimated from the number of tokens and pursuit steps. {size(cost.free_disk)} are free.{fetched}"


def show_plan(form: BuildState, checked: Checked, corpora: list[Corpus], is_under_way: bool) -> None:
    """Show the build's cost, its command line, and the button that starts it."""
    with st.container(border=True):
        st.subheader("Before you start")
        if checked.request is None:
            st.text("Correct the marked fields to see the cost.")
        else:
            cost = estimate(checked.request, resources.library(), chrome.sound_records(), corpora)
            show_cost(checked.request, cost)
        command = arguments(form)
        st.caption("In a terminal:")
        first = shlex.join(["itda", *command[:2]])
        lines = map(one_line, [first, *map(shlex.quote, command[2:])])  # no control characters for a terminal
        st.code(" \\\n  ".join(lines), language=None, wrap_lines=True)
        label = "This is being built" if is_under_way else "Build"
        is_blocked = checked.request is None or is_under_way
        if st.button(label, type="primary", icon=":material/play_arrow:", disabled=is_blocked, width="stretch"):
            go(job=resources.start(*command))
            st.rerun()
