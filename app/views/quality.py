"""How good a dictionary is, beside random atoms, and beside a second dictionary or an SAE."""

from dataclasses import replace
from typing import Any

import streamlit as st

from app import jobs_view, parts, probing_view, quality_curves, quality_view, recipes_view, resources, sae_view, state
from app.quality_points import Subject
from app.resources import SaeRecord
from app.text import count, inert, visible
from itda_core.jobs import read_jobs
from itda_core.library import DictionaryRecord
from itda_core.types import DamagedError, UserError

MEASURE = (
    "Measuring takes some minutes for a small model, is done once, and is kept. The model reads text that was held "
    "out, or comes after what was read, and the dictionary is measured at several sizes and L0, beside random atoms."
)


def go(**changes: Any) -> None:
    """Change what the page shows."""
    parts.change(state.QualityState, **changes)


def show_chooser(shown: state.QualityState, saes: dict[str, SaeRecord]) -> None:
    """Which dictionary, and which other one or which SAE is laid over it."""
    names = parts.dictionary_names()
    a = next((record for record in parts.sound_records() if record.id == shown.a), None)
    others = names | sae_view.names(saes.values(), a)
    for column, side, now, label in zip(
        st.columns(2),
        ("a", "b"),
        (shown.a, shown.b),
        ("Dictionary A", "Compare with B (or an SAE)"),
        strict=True,
    ):
        choices = names if side == "a" else others
        key = f"quality_{side}"
        st.session_state[key] = now if now in choices else None

        def changed(side: str = side, key: str = key) -> None:
            go(**{side: st.session_state[key] or "", "sae": "", "lines": None})

        with column:
            st.selectbox(
                label,
                list(choices),
                index=None,
                format_func=choices.__getitem__,
                placeholder="choose a dictionary" if side == "a" else "none",
                key=key,
                on_change=changed,
            )


def record_of(chosen: str, saes: dict[str, SaeRecord]) -> DictionaryRecord | SaeRecord:
    """What an id stands for. Raises UserError, saying what there is, for an id that nothing here has."""
    try:
        return saes[chosen] if chosen in saes else resources.library().record(chosen)
    except DamagedError:
        raise
    except UserError as error:
        if not saes:
            raise
        raise UserError(f"{error}; and these SAEs: {', '.join(list(saes)[:10])}") from error


def show_built(record: DictionaryRecord | SaeRecord, side: str, names: dict[str, str]) -> None:
    """What stands on a side, and how it was made; a link to it."""
    if isinstance(record, DictionaryRecord):
        settings = record.settings
        words = [
            f"{count(record.n_atoms)} atoms from {count(record.n_tokens)} tokens",
            f"L0 {settings.l0}",
            f"threshold {parts.threshold_of(record)}",
            f"recipe: {settings.recipe}",
        ]
        address = parts.atoms_address(record.id)
    else:
        words = [sae_view.trained(record)]
        address = parts.quality_address(replace(state.decode(state.QualityState, st.query_params), sae=record.id))
    parts.link(names[record.id], address, key=f"built_{side}", side=side)
    st.caption(inert(", ".join(words)))


def measured(side: str, record: DictionaryRecord | SaeRecord, name: str) -> Subject | None:
    """What stands on a side with its report; None, after saying how to come by one, where there is none.

    Raises DamagedError where the report on an SAE cannot be read.
    """
    if not isinstance(record, DictionaryRecord):
        subject = sae_view.subject_of(record, name, side)
        if subject is None:
            st.text("This SAE is not measured. Run the itda sae command that made it once more: it then measures it.")
        return subject
    try:
        report = resources.quality(record.id)
    except DamagedError as error:  # the job replaces it
        parts.show_error(error)
        report = None
    if report is None:
        jobs_view.offer_work(
            MEASURE, f"Measure {side.upper()}", ":material/query_stats:", ["measure", record.id], follow=False
        )
        return None
    return Subject(side, record.id, name, record.n_atoms, record.settings.l0, False, report)


def show_pair(shown: state.QualityState, saes: dict[str, SaeRecord]) -> None:
    """The reports on what is chosen, and the SAEs of A's site."""
    a = resources.library().record(shown.a)
    chosen = {"a": a} | ({"b": record_of(shown.b, saes)} if shown.b else {})
    names = parts.dictionary_names() | sae_view.names(saes.values(), a)
    running = [job for job in read_jobs(resources.library().root) if job.status == "running"]
    jobs_view.show_jobs(running, brief=True)
    subjects: list[Subject] = []
    for column, (side, record) in zip(st.columns(len(chosen), gap="large"), chosen.items(), strict=True):
        with column:
            show_built(record, side, names)
            try:
                subject = measured(side, record, names[record.id])
            except UserError as error:  # of this report alone
                parts.show_error(error)
                continue
            if subject is not None:
                quality_view.show_answer(subject, len(chosen) == 1)
                subjects.append(subject)
    if subjects:
        if len(subjects) == 2:
            quality_view.show_between(*subjects)
        quality_view.show_basis(subjects)
        quality_curves.show_curves(subjects, shown, go)
        quality_curves.show_points(subjects, shown)
    sae_view.show_saes(a, shown, saes, go)
    recipes_view.show_recipes()
    beside = sae_view.names((each for each in saes.values() if each.is_of(a)), a)
    probing_view.show_probing(a, shown.probed, go, beside)


def show_quality() -> None:
    """The whole page."""
    st.title("How good is this dictionary?")
    try:
        shown = state.decode(state.QualityState, st.query_params)
    except UserError as error:
        known = parts.dictionary_names()
        kept = {name: value for name in ("d", "e") if (value := st.query_params.get(name)) in known}
        parts.show_error(error)
        st.button("Start anew", on_click=lambda: st.query_params.from_dict(kept))
        return
    names = parts.dictionary_names()
    if not names:
        st.text("This library has no dictionaries yet, so there is nothing to measure.")
        st.page_link(parts.LIBRARY_PAGE, label="Library", icon=":material/grid_view:")
        return
    st.set_page_config(page_title=f"Quality, {visible(names[shown.a])}" if shown.a in names else "Quality")
    saes = sae_view.known()
    show_chooser(shown, saes)
    if not shown.a:
        st.text("Choose a dictionary as A. To compare, choose a second one, or an SAE, as B.")
        return
    try:
        show_pair(shown, saes)
    except UserError as error:
        parts.show_error(error)


with parts.errors_shown():
    show_quality()
