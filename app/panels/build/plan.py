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


def show_cost(asked: BuildRequest, cost: Estimate) -> None:
    """Show the estimated cost of the build, and the basis of the estimate."""
    with st.grid(2, min_column_width=100, gap="small"):
        st.metric("Tokens", count(cost.tokens))
        st.metric("Time", "unknown" if cost.seconds is None else span(*cost.seconds))
        st.metric("Memory", "unknown" if cost.memory is None else size(cost.memory))
        st.metric("Disk", size(cost.disk))
        if cost.transfer is not None:
            st.metric("Transfer", size(cost.transfer))
    made = "one dictionary" if cost.n_sites == 1 else f"{cost.n_sites} dictionaries"
    st.caption(f"It gives {made}. {passes_text(cost)}")
    st.caption(inert(time_basis(asked, cost)))
    st.caption(inert(memory_basis(asked, cost)))
    if cost.documents is not None and cost.documents < HOLDOUT and asked.build.holdout:
        some = "a single document" if cost.documents == 1 else f"only {cost.documents} documents"
        st.warning(
            f"The corpus has {some}, so that none is held out: name a longer text, or tick Build from every document "
            "under More.",
            icon=":material/short_text:",
        )
    if cost.disk + cost.scratch > cost.free_disk:
        st.warning(f"Only {size(cost.free_disk)} are free where the library is.", icon=":material/hard_drive:")
    if cost.is_for_remote:
        st.warning(
            "This model is too large for most machines"
            + (f"; this one has {size(cost.machine_memory)} of memory" if cost.machine_memory else "")
            + ". Models of this size run on NDIF: tick that under More.",
            icon=":material/cloud:",
        )


def passes_text(cost: Estimate) -> str:
    """Return how often the model reads the texts, and what that takes, as text."""
    if cost.passes == 1:
        scratch = f" Their activations take {size(cost.scratch)} of disk until the build ends." if cost.scratch else ""
        return f"The model reads the texts once.{scratch}"
    return f"The model reads the texts about {cost.passes} times, as the disk has no room for their activations."


def time_basis(asked: BuildRequest, cost: Estimate) -> str:
    """Return the basis of the time estimate, as text."""
    if asked.remote:
        return "Time cannot be told: it depends on NDIF's queue. What has come is kept if the build is stopped."
    if not cost.runs:
        if asked.shape.d_model is None:
            return "Time cannot be told: this model is not on the machine yet, and no run of it is in the library."
        return "Time cannot be told: this library has no run of any model yet to go by."
    last = cost.runs[0]
    runs = "the last run" if len(cost.runs) == 1 else f"the last {len(cost.runs)} runs"
    layers = ("layer " if len(last.layers) == 1 else "layers ") + ", ".join(map(str, last.layers))
    text = (
        f"Time goes by {runs} of {last.model} in this library; the latest, {layers}, did "
        f"{last.rate:,.0f} tokens a second on the machine that it ran on."
    )
    if not 0.95 < cost.scale < 1.05:
        text += f" Here the model does about {cost.scale:.2g} times that work for a token."
    if asked.dictionary.method == "orthogonal":
        text += " Orthogonal pursuit takes many times longer than matching pursuit."
    if asked.dictionary.recipe == "pruned":
        text += " Pruning comes on top: some seconds for a dictionary of a thousand atoms, and more for larger ones."
    if asked.dictionary.n_atoms is not None:
        text += " Looking for the threshold comes on top: some more builds from the same activations."
    return text + " Reading the corpus, loading the model and the maps come on top."


def memory_basis(asked: BuildRequest, cost: Estimate) -> str:
    """Return the basis of the memory and disk estimates, as text."""
    n = asked.shape.n_parameters
    if asked.remote:
        text = "Memory: about 1 GB for the program, and the atoms; the model is elsewhere."
    elif n is None:
        text = "Memory cannot be told: the size of this model is not known before it is fetched."
    else:
        known = "" if asked.shape.is_counted else ", going by its name,"
        amount = f"{n / 1e9:.3g} billion" if n >= 1e9 else f"{n / 1e6:.3g} million"
        text = f"Memory: {amount} parameters{known} in {asked.dtype}, about 1 GB for the program, and the atoms."
    fetched = "" if asked.shape.is_local or asked.shape.is_counted else " Fetching the model takes disk besides."
    return f"{text} Disk: by the size of indexes for each token and step; {size(cost.free_disk)} are free.{fetched}"


def show_plan(form: BuildState, checked: Checked, corpora: list[Corpus], is_under_way: bool) -> None:
    """Show the build's cost, its command line, and the button that starts it."""
    with st.container(border=True):
        st.subheader("Before you start")
        if checked.asked is None:
            st.text("What it will cost is told once the marked fields are mended.")
        else:
            cost = estimate(checked.asked, resources.library(), chrome.sound_records(), corpora)
            show_cost(checked.asked, cost)
        command = arguments(form)
        st.caption("The same in a terminal:")
        first = shlex.join(["itda", *command[:2]])
        lines = map(one_line, [first, *map(shlex.quote, command[2:])])  # no control characters for a terminal
        st.code(" \\\n  ".join(lines), language=None, wrap_lines=True)
        label = "This is being built" if is_under_way else "Build"
        is_blocked = checked.asked is None or is_under_way
        if st.button(label, type="primary", icon=":material/play_arrow:", disabled=is_blocked, width="stretch"):
            go(job=resources.start(*command))
            st.rerun()
