"""Quality page: the curves, and a table of all their points."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from app.charts import quality
from app.components.navigate import navigate
from app.components.token_strip import Row, Token, token_strip
from app.format.text import count
from app.panels.quality.points import (
    RANDOM,
    SAE,
    SERIES,
    Subject,
    interval,
    offered,
    own_point,
    points_of,
    shown,
    table_of,
)
from app.panels.quality.verdict import MEASURE_HELP
from app.shell import urls, widgets
from app.state import pages
from itda_core.reports.quality import QUALITY_METRICS

LINES = {"own": "as built", "all": "all sizes and L0"}
AXES = {"l0": "L0", "latents": "size (atoms or latents)"}
_MOST_ROWS = 400

Go = Callable[..., None]
"""Callback that changes the page's state, as `chooser.go` does."""


def show_curves(subjects: list[Subject], now: pages.QualityState, go: Go) -> None:
    """Show a chosen measure against L0 and against size.

    A click on a point opens what it stands for.
    """
    st.subheader("Against L0 and size")
    measures = offered(subjects)
    if not measures:
        st.text("The report has no points: delete its quality.json and measure again.")
        return
    measure = now.measure if now.measure in measures else measures[0]
    lines = now.lines or ("all" if len(subjects) == 1 else "own")
    choose("measure", "Measure", measures, measure, QUALITY_METRICS, go)
    st.caption(MEASURE_HELP[measure])
    choose("lines", "Lines", list(LINES), lines, LINES, go)
    points = points_of(subjects, measure)
    for column, (across, title) in zip(st.columns(2), AXES.items(), strict=True):
        drawn = points if lines == "all" else as_built(points, subjects, across)
        figure = quality.quality_lines(
            drawn,
            across,
            (title, QUALITY_METRICS[measure]),
            lambda value: shown(measure, value),
            unchanged(subjects) if measure == "ce_loss" else (),
        )
        with column:
            selected = widgets.figure(
                figure,
                drawn,
                key=f"quality_{across}_{measure}_{lines}_{now.sae}",  # a new widget, with no selection, for each URL
                alt=f"{QUALITY_METRICS[measure]} against {title}; the table below has the same points with links",
                file=f"quality-{measure}-{across}.csv",
                on_select="rerun",
                selection_mode="points",
            )
        href = clicked(selected.get("points"), subjects, now)
        if href is not None:
            navigate(href)
    st.caption(words_of_lines(subjects))


def choose(name: str, label: str, options: Sequence[str], now: str, words: dict[str, str], go: Go) -> None:
    """Show a choice that is stored in the URL."""
    key = f"quality_{name}"
    st.session_state[key] = now
    st.segmented_control(
        label,
        options,
        format_func=words.__getitem__,
        required=True,
        key=key,
        on_change=lambda: go(**{name: st.session_state[key]}),
    )


def as_built(points: pd.DataFrame, subjects: list[Subject], across: str) -> pd.DataFrame:
    """Return the points at the settings with which each side was built.

    Against L0 these are the points at its own size; against size, those at its own L0. Of an SAE, they are all points.
    """
    by = "latents" if across == "l0" else "l0"
    own = {each.side: point for each in subjects if (point := own_point(each.own, each)) is not None}
    is_own = [
        series == SAE or (side in own and value == getattr(own[side], by))
        for side, series, value in zip(points["side"], points["series"], points[by], strict=True)
    ]
    return points.loc[is_own, :]


def unchanged(subjects: list[Subject]) -> list[tuple[float, str]]:
    """Return the loss of the unchanged model, for each side where they differ."""
    losses = {each.side: each.quality.ce_original for each in subjects if each.quality.ce_original is not None}
    if len({round(loss, 4) for loss in losses.values()}) == 1:
        return [(next(iter(losses.values())), "unchanged model")]
    return [(loss, f"unchanged model of {side.upper()}") for side, loss in losses.items()]


def clicked(selected: list[dict] | None, subjects: list[Subject], now: pages.QualityState) -> str | None:
    """Return the URL that the clicked point of a figure opens.

    None where none was clicked, or its target is open already.
    """
    if not selected:
        return None
    data = selected[0].get("customdata")
    side, latents = str(data[0] if isinstance(data, list) else data).split()
    subject = next((each for each in subjects if each.side == side), None)
    if subject is None or subject.id == now.sae:
        return None
    return address_of(subject, int(latents), now)


def words_of_lines(subjects: list[Subject]) -> str:
    """Return the explanation of the lines."""
    words = []
    has_random = [each.side.upper() for each in subjects if each.series(RANDOM) is not None]
    if has_random:
        words.append("Solid lines: the dictionary’s atoms. Dotted lines: as many random activations.")
    if any(not each.is_sae for each in subjects):
        words.append(
            "Smaller sizes are the dictionary cropped to the atoms admitted first or, if it is pruned, used most."
        )
    words.append("Bars: 95 % intervals. Click a point to open it.")
    return " ".join(words)


def address_of(subject: Subject, latents: int, now: pages.QualityState) -> str:
    """Return the URL that a point opens.

    This is the list of its atoms, or of those that cropping leaves, or the SAE's entry on this page.
    """
    if subject.is_sae:
        return urls.address(replace(now, sae=subject.id, tab=None))
    return urls.atoms_address(subject.id, latents if latents < subject.latents else None)


def show_points(subjects: list[Subject], now: pages.QualityState) -> None:
    """Show every point with all its measures, each a link, and all of them as CSV."""
    measures = offered(subjects)
    if not measures:
        return
    rows = [
        Row(
            [Token(SERIES.get(series.name, series.name))],
            [
                count(point.latents),
                str(point.l0),
                *(shown(name, point.measured[name].value) if name in point.measured else "–" for name in measures),
                interval(main, point.measured[main]) if main in point.measured else "–",
            ],
            href=address_of(subject, point.latents, now),
            sides=subject.side,
        )
        for main in [now.measure if now.measure in measures else measures[0]]
        for subject in subjects
        for series in subject.quality.series
        for point in series.points
    ]
    main = QUALITY_METRICS[now.measure if now.measure in measures else measures[0]]
    with st.expander("Every point"):
        if len(rows) > _MOST_ROWS:
            st.caption(f"The first {_MOST_ROWS} of {count(len(rows))}; the download has all.")
        columns = ["Atoms", "size", "L0", *(QUALITY_METRICS[name] for name in measures), f"{main}, 95 %"]
        token_strip(rows[:_MOST_ROWS], key="points", columns=columns, style="table")
    widgets.download(
        lambda: table_of(subjects), key="points_csv", file=f"{subjects[0].id}-quality.csv", label="Every point as CSV"
    )
