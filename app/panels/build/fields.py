"""Build page: the form's fields."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import streamlit as st

from app.format.text import inert
from app.panels.build.form import Checked
from app.shell import chrome
from app.shell.urls import Binding
from app.state.pages import BUILD_OPTIONS, BuildState
from itda_core.common.settings import CENTERS, DTYPES, ERRORS, INITS, METHODS, RECIPES, SCANS, WINDOWS
from itda_core.common.types import HOOKS
from itda_core.corpus.store import Corpus
from itda_core.models.bundled import demo_models
from itda_core.models.smollm2 import smollm2_file

go = Binding(BuildState, "build").go
HOOK_NAMES = {"resid": "block output", "mlp": "MLP", "attn": "attention"}
ERROR_NAMES = {
    "relative": "relative: |x−x̂|²/|x|²",
    "squared": "squared: |x−x̂|²",
    "cosine": "cosine: mean over dimensions",
}
SCAN_NAMES = {"sequential": "sequential", "batch": "in batches (published)"}
INIT_NAMES = {"empty": "none", "frequent": "frequent activations (published)"}
WINDOW_NAMES = {"first": "first of each document", "all": "all of each document"}
METHOD_NAMES = {
    "matching": "matching pursuit",
    "orthogonal": "orthogonal matching pursuit (much slower)",
    "nonnegative": "non-negative matching pursuit",
    "refitted": "matching pursuit with a final least-squares fit",
}
RECIPE_NAMES = {
    "published": "above the threshold (published)",
    "pruned": "pruned to the most used",
    "random": "random",
}
CENTER_NAMES = {"none": "none (published)", "mean": "subtract the mean activation"}
DEVICES = ("", "cpu", "cuda", "mps", "auto")
MORE = (
    "column", "split", "config", "corpus_revision", "documents", "context", "windows", "batch", "keep_first",
    "keep_activations", "no_holdout", "no_map", "scan", "init", "method", "center", "max_norm", "recipe", "max_atoms",
    "remote", "device", "dtype",
)  # fmt: skip
"""Fields that most builds leave at their defaults."""


class Form:
    """Form that draws its fields, each with its problem below it."""

    def __init__(self, form: BuildState, checked: Checked) -> None:
        """Store the form's state and the problems found in it."""
        self._form, self._problems = form, checked.problems

    def __call__(self, name: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Draw the widget of a field, set to its value in the URL."""
        key = f"build_{name}"
        st.session_state[key] = getattr(self._form, name)
        if name in BUILD_OPTIONS:
            options["help"] = BUILD_OPTIONS[name].help
        draw(*arguments, key=key, on_change=lambda: self._take(name, st.session_state[key]), **options)
        self.complain(name)

    def _take(self, name: str, value: Any) -> None:
        usual = next(each.default for each in fields(BuildState) if each.name == name)
        go(**{name: usual if value is None else value})

    def complain(self, name: str) -> None:
        """Show the problem of a field, if it has one."""
        if name in self._problems:
            problem = self._problems[name]
            # Not a caption, whose text is too pale for an error.
            st.markdown(f":small[:red[{inert(problem[:1].upper() + problem[1:])}]]")


def show_form(form: BuildState, checked: Checked, corpora: list[Corpus]) -> None:
    """Show the fields that every build needs, and the others in an expander."""
    put = Form(form, checked)
    hub = (record.model for record in chrome.sound_records() if "/" in record.model)
    installed = smollm2_file()
    models = {*demo_models(), *hub, *([str(installed)] if installed else []), form.model}
    put(
        "model",
        st.selectbox,
        "Model",
        sorted(models),
        format_func=lambda name: f"{name} (included)" if name in demo_models() else name,
        accept_new_options=True,
        help="A model included in the project, a folder in Hugging Face format, a GGUF file, or a Hub id such as "
        "EleutherAI/pythia-70m-deduped. Type a name that is not in the list.",
    )
    if checked.shape is None or not checked.shape.is_local:
        put("revision", st.text_input, "Model revision", placeholder="main", max_chars=200)
    show_corpus(form, put, corpora)
    left, right = st.columns(2)
    with left:
        put("layers", st.text_input, "Layers", max_chars=200)
    with right:
        show_hooks(form, put)
    left, right = st.columns(2)
    with left:
        put("tokens", st.number_input, "Tokens", min_value=0, step=10_000)
    with right:
        put("l0", st.number_input, "L0", min_value=0, step=1)
    put("atoms", st.number_input, "Atoms", min_value=0, step=1000, placeholder="set by the threshold")
    left, right = st.columns(2)
    with left:
        is_found = form.atoms is not None
        put("threshold", st.number_input, "Threshold", step=0.05, format="%g", disabled=is_found)
    with right:
        put("error", st.selectbox, "Error measure", ERRORS, format_func=ERROR_NAMES.__getitem__)
    changed = [name for name in MORE if getattr(form, name) != getattr(BuildState(), name)]
    is_wrong = any(name in checked.problems for name in MORE)
    with st.expander(f"More ({len(changed)} changed)" if changed else "More", expanded=is_wrong):
        show_more(put)


def show_corpus(form: BuildState, put: Form, corpora: list[Corpus]) -> None:
    """Show the choice of corpus.

    Choosing a corpus that was read before also restores the settings with which it was read.
    """
    before = {corpus.settings.spec: corpus for corpus in corpora}
    key = "build_corpus"
    st.session_state[key] = form.corpus

    def changed() -> None:
        spec = st.session_state[key] or BuildState().corpus
        known = before.get(spec)
        if known is None:
            go(corpus=spec)
            return
        settings, cut = known.settings, known.cut
        go(
            corpus=spec,
            column=settings.column,
            split=settings.split,
            config=settings.name or "",
            corpus_revision=settings.revision or "",
            documents=settings.documents,
            context=cut.context,
            windows=cut.windows,
            keep_first=cut.keep_first,
        )

    st.selectbox(
        "Corpus",
        list(dict.fromkeys(["docs", *before, form.corpus])),
        format_func=lambda spec: "docs (the documentation installed here)" if spec == "docs" else spec,
        accept_new_options=True,
        key=key,
        on_change=changed,
        help=BUILD_OPTIONS["corpus"].help,
    )
    put.complain("corpus")


def show_hooks(form: BuildState, put: Form) -> None:
    """Show the choice of hooks in each block.

    The URL has them in the format of the command line.
    """
    key = "build_hook"
    st.session_state[key] = [hook for hook in HOOKS if hook in form.hook.split(",")]
    st.pills(
        "Hook points",
        HOOKS,
        selection_mode="multi",
        format_func=HOOK_NAMES.__getitem__,
        key=key,
        on_change=lambda: go(hook=",".join(st.session_state[key])),
        help=BUILD_OPTIONS["hook"].help,
    )
    put.complain("hook")


def show_more(put: Form) -> None:
    """Show the fields that most builds leave at their defaults."""
    texts, dictionary = st.columns(2)
    with texts:
        put(
            "documents", st.number_input, "Documents", min_value=0, step=1000, placeholder="all, or 10,000 of a dataset"
        )
        put("column", st.text_input, "Text field", max_chars=200)
        put("split", st.text_input, "Dataset split", max_chars=200)
        put("config", st.text_input, "Dataset configuration", max_chars=200)
        put("corpus_revision", st.text_input, "Dataset revision", max_chars=200)
        put("context", st.number_input, "Tokens per window", min_value=0, step=1)
        put("windows", st.selectbox, "Windows", WINDOWS, format_func=WINDOW_NAMES.__getitem__)
        put("keep_first", st.checkbox, "Capture each window's first token")
    with dictionary:
        put("max_atoms", st.number_input, "Maximum atoms", min_value=0, step=1000, placeholder="no limit")
        put("method", st.selectbox, "Method", METHODS, format_func=METHOD_NAMES.__getitem__)
        put("center", st.selectbox, "Centring", CENTERS, format_func=CENTER_NAMES.__getitem__)
        put("max_norm", st.number_input, "Maximum norm (× median)", step=1.0, format="%g", placeholder="no limit")
        put("recipe", st.selectbox, "Recipe", RECIPES, format_func=RECIPE_NAMES.__getitem__)
        put("scan", st.selectbox, "Scan", SCANS, format_func=SCAN_NAMES.__getitem__)
        put("init", st.selectbox, "Initial atoms", INITS, format_func=INIT_NAMES.__getitem__)
        put("batch", st.number_input, "Windows per batch", min_value=0, step=1)
        put("remote", st.checkbox, "Run the model on NDIF")
        put(
            "device",
            st.selectbox,
            "Device",
            DEVICES,
            format_func=lambda name: name or "CUDA if available, else the CPU",
            accept_new_options=True,
        )
        put("dtype", st.selectbox, "Data type", DTYPES)
        put("no_holdout", st.checkbox, "Build from every document")
        put("no_map", st.checkbox, "Skip the map")
        put("keep_activations", st.checkbox, "Keep the activations")
